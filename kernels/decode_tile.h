/* What decode_blocks_amx.c takes from the other kernels in AVX-512's own types: it is compiled for matrix units alone. */
#ifndef AZ_DECODE_TILE_H
#define AZ_DECODE_TILE_H
#include "tile.h"

#if defined(__AMX_BF16__)
static inline __m512i pack_bf16(__m512 low, __m512 high) { return (__m512i)v_narrow2((Vec){{low}}, (Vec){{high}}).p[0]; }
static inline __mmask16 first_lanes(long n) { return (__mmask16)((1u << v_first(n)) - 1); }
static inline __m512 sigmoid_ps(__m512 x) { return v_sigmoid_normal((Vec){{x}}).p[0]; }
#endif
#endif
