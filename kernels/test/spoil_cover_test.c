/* That each op is in a table of what becomes of what is not finite (spoil.h), or tested for it elsewhere. */
#include "spoil.h"

FLOAT_FAMILY(az_float_rows_ops);
FLOAT_FAMILY(az_float_attention_ops);
FLOAT_FAMILY(az_float_attention_backward_ops);
FLOAT_FAMILY(az_float_vocabulary_ops);
FLOAT_FAMILY(az_float_select_ops);
FLOAT_FAMILY(az_float_linear_ops);
FLOAT_FAMILY(az_float_blocks_ops);
HALF_FAMILY(az_linear_ops);
HALF_FAMILY(az_adapter_ops);
HALF_FAMILY(az_norm_ops);
HALF_FAMILY(az_attention_ops);
HALF_FAMILY(az_head_ops);
HALF_FAMILY(az_decode_pack_ops);
HALF_FAMILY(az_decode_linear_ops);
HALF_FAMILY(az_decode_linear_tangent_ops);
HALF_FAMILY(az_decode_attention_ops);

static const char *const ELSEWHERE[] = {
    /* run by those whose operands they make, or read */
    "ToFloat", "Pack", "DecodePack", "DecodePackBytes", "DecodePackDirection",
    /* comparisons and ids: float_vocabulary_test.c, float_select_test.c */
    "FloatMinP", "FloatDraw", "FloatArgmax", "FloatTopK", "FloatKeep",
    /* blocks_test.c; blocks hold integers */
    "FloatBlockGroups", "DecodeBlockGroups", "GatherBlockGroups",
};

static int is_in_tables(const char *name) {
  const Spoiling *const tables[] = {spoilt_plain, spoilt_rows, spoilt_products, spoilt_attention};
  for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
    for (const Spoiling *kernel = tables[t]; kernel->name; kernel++)
      if (!strcmp(kernel->name, name)) return 1;
  for (size_t i = 0; i < sizeof ELSEWHERE / sizeof *ELSEWHERE; i++)
    if (!strcmp(ELSEWHERE[i], name)) return 1;
  return 0;
}

static void test_cover(void) {
  half_level = LEVEL_PORTABLE;
  const Op *const families[] = { /* as registry.c lists them */
      az_convert_ops, az_optimizer_ops, az_gather_blocks_ops,
#if defined(__x86_64__)
      az_decode_blocks_ops,
#endif
      TABLE(az_float_rows_ops), TABLE(az_float_attention_ops), TABLE(az_float_attention_backward_ops), TABLE(az_float_vocabulary_ops),
      TABLE(az_float_select_ops), TABLE(az_float_linear_ops), TABLE(az_float_blocks_ops),
      TABLE(az_linear_ops), TABLE(az_adapter_ops), TABLE(az_norm_ops), TABLE(az_attention_ops), TABLE(az_head_ops),
      TABLE(az_decode_pack_ops), TABLE(az_decode_linear_ops), TABLE(az_decode_linear_tangent_ops), TABLE(az_decode_attention_ops),
  };
  for (size_t f = 0; f < sizeof families / sizeof *families; f++)
    for (const Op *op = families[f]; op->name; op++)
      check(is_in_tables(op->name), "what becomes of what is not finite in %s is not tested", op->name);
}

const Test spoil_cover_tests[] = {
    {"each kernel is tested for what is not finite", test_cover, LEVEL_PORTABLE},
    {0},
};
