/* Opens what libFuzzer makes, and asks an opened model everything. */
#include "mutator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    le_model *model = open_with(data, size, "scalar");
    if (!model)
        return 0;
    size_t bytes = le_model_bytes(model);
    const char *op;
    for (int role = LE_INPUT; role <= LE_STATE; role++)
        for (int i = 0; i < le_model_count(model, (le_role)role); i++)
            bytes += strlen(le_model_port(model, (le_role)role, i).name);
    for (int i = 0; i < le_model_op_count(model); i++)
        bytes += strlen(le_model_op_name(model, i, &op)) + strlen(op);
    const char *text = le_model_metadata(model, &bytes);
    volatile char last = bytes ? text[bytes - 1] : 0;
    (void)last;
    le_model_close(model);
    return 0;
}
