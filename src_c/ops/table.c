/* The op table: rows of ops.def. */
#include "ops.h"

const le_op_type le_op_types[] = {
#define OP(name, suffix, min_in, max_in, min_out, max_out) \
    {#name, min_in, max_in, min_out, max_out, le_pack_##suffix, le_shape_##suffix, le_run_##suffix},
#include "ops.def"
#undef OP
};

const int le_op_type_count = (int)(sizeof le_op_types / sizeof *le_op_types);
