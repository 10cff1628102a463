/* Which kernel table a model gets: the one asked for by name or by LSTM_EDGE_ISA, else the best that this CPU runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

const char *le_isa_name(int index, int *supported) {
    if (index < 0 || index >= le_kernel_table_count)
        return NULL;
    if (supported)
        *supported = le_kernel_supported(le_kernel_tables[index]);
    return le_kernel_tables[index]->name;
}

const char *le_isa_needs(int index) { return index < 0 || index >= le_kernel_table_count ? NULL : le_kernel_needs[index]; }

const le_kernels *le_choose_kernels(const char *isa, le_error *err) {
    const char *origin = isa ? "isa" : "LSTM_EDGE_ISA";
    if (!isa)
        isa = getenv("LSTM_EDGE_ISA");
    char known[160] = "";
    const le_kernels *best = NULL;
    for (int i = 0; i < le_kernel_table_count; i++) {
        const le_kernels *table = le_kernel_tables[i];
        bool supported = le_kernel_supported(table);
        if (isa && *isa && strcmp(isa, table->name) == 0) {
            if (!supported)
                le_fail(err, LE_ERR_UNSUPPORTED, "%s: this CPU cannot run '%s'", origin, isa);
            return supported ? table : NULL;
        }
        if (supported)
            best = table;
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", table->name);
    }
    if (!isa || !*isa)
        return best;
    le_fail(err, LE_ERR_UNSUPPORTED, "%s: expected one of %s, found '%.40s'", origin, known, isa);
    return NULL;
}
