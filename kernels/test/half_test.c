/* Kernels of bfloat16 against float64 sums of the same bfloat16 numbers, on shapes that are no multiple of a tile. */
#include "levels.h"

HALF_FAMILY(az_adapter_ops);
HALF_FAMILY(az_linear_ops);
HALF_FAMILY(az_norm_ops);
HALF_FAMILY(az_attention_ops);
HALF_FAMILY(az_head_ops);
HALF_FAMILY(az_decode_pack_ops);
HALF_FAMILY(az_decode_linear_ops);

/* Float32 sums of exact products, and one rounding to bfloat16. */
static const double EXACT = 2e-6, ROUNDED = 4.1e-3;

#define AT(x, r, column) ((double)from_half(HALVES(x)[(r)*x.dim[1] + (column)]))

static double *doubles(int64_t n) { return calloc((size_t)MAX(n, 1), sizeof(double)); }
static void must_run(Call *call) {
  const char *error = run_op(call);
  check(error == NULL, "%s: %s", call->name, error ? error : "");
}

/* bfloat16 [rows, stride] with zeros from `width` on. */
static Tensor padded_waves(int seed, int64_t rows, int64_t width) {
  Tensor x = HALF_WAVES(seed, rows, ROUND_UP(width, 32));
  for (int64_t r = 0; r < rows; r++)
    for (int64_t k = width; k < x.dim[1]; k++) HALVES(x)[r * x.dim[1] + k] = 0;
  return x;
}
/* The first `width` columns as float32. */
static Tensor columns_of(Tensor x, int64_t width) {
  Tensor y = tensor_of(4, SHAPE(x.dim[0], width));
  for (int64_t i = 0; i < count_of(y); i++) FLOATS(y)[i] = from_half(HALVES(x)[i / width * x.dim[1] + i % width]);
  return y;
}
/* Float32 numbers that bfloat16 holds exactly. */
static Tensor exact_waves(int seed, int64_t rows, int64_t width) {
  Tensor x = WAVES(seed, rows, width);
  for (int64_t i = 0; i < count_of(x); i++) FLOATS(x)[i] = from_half(to_half(FLOATS(x)[i]));
  return x;
}
static void check_padding(const char *what, Tensor x, int64_t width) {
  for (int64_t r = 0; r < x.dim[0]; r++)
    for (int64_t k = width; k < x.dim[1]; k++) check(HALVES(x)[r * x.dim[1] + k] == 0, "%s: padding is not zero", what);
}

static void test_linear(void) {
  static const int64_t shapes[][3] = {{1, 1, 1}, {3, 17, 5}, {32, 32, 32}, {33, 65, 97}, {70, 40, 33}, {129, 100, 64}};
  for (int s = 0; s < 6; s++) {
    const int64_t rows = shapes[s][0], width = shapes[s][1], n = shapes[s][2];
    Tensor x = padded_waves(1, rows, width), w = exact_waves(2, n, width), residual = WAVES(3, rows, n), bias = WAVES(4, n);
    Tensor dy = padded_waves(5, rows, n);
    Call pack = {.table = TABLE(az_linear_ops), .name = "Pack", .in = {w}, .num_inputs = 1};
    must_run(&pack);
    double *y = doubles(rows * n), *dx = doubles(rows * width), *dw = doubles(n * width);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t j = 0; j < n; j++) {
        y[r * n + j] = FLOATS(residual)[r * n + j] + FLOATS(bias)[j];
        const double d = from_half(HALVES(dy)[r * dy.dim[1] + j]);
        for (int64_t k = 0; k < width; k++) {
          const double value = from_half(HALVES(x)[r * x.dim[1] + k]);
          y[r * n + j] += value * FLOATS(w)[j * width + k];
          dx[r * width + k] += d * FLOATS(w)[j * width + k];
          dw[j * width + k] += d * value;
        }
      }
    Call forward = {.table = TABLE(az_linear_ops), .name = "LinearFloat", .ints = {rows, 0, x.dim[1], n}, .floats = {1}, .num_inputs = 4};
    forward.in[0] = x, forward.in[1] = pack.out[0], forward.in[2] = residual, forward.in[3] = bias;
    must_run(&forward);
    check_close("y", forward.out[0], y, EXACT);
    Call half = forward;
    half.name = "LinearHalf";
    half.out[0].data = NULL;
    must_run(&half);
    check_close("y in bfloat16", columns_of(half.out[0], n), y, ROUNDED);
    check_padding("y", half.out[0], n);
    Call back = {.table = TABLE(az_linear_ops), .name = "LinearFloat", .ints = {rows, 0, dy.dim[1], width}, .floats = {1}, .num_inputs = 2};
    back.in[0] = dy, back.in[1] = pack.out[1];
    must_run(&back);
    check_close("dx", back.out[0], dx, EXACT);
    Call gradient = {.table = TABLE(az_linear_ops), .name = "WeightGradient", .floats = {1}, .in = {dy, x}, .num_inputs = 2, .num_outputs = 2};
    const int64_t ints[] = {rows, 0, 0, dy.dim[1], 0, x.dim[1], width, n};
    memcpy(gradient.ints, ints, sizeof ints);
    must_run(&gradient);
    check_close("dw", gradient.out[1], dw, EXACT);
    double squares = 0;
    for (int64_t i = 0; i < n * width; i++) squares += (double)FLOATS(gradient.out[1])[i] * FLOATS(gradient.out[1])[i];
    check(fabs(*FLOATS(gradient.out[0]) - squares) <= 1e-5 * squares, "squares are %g, expected %g", (double)*FLOATS(gradient.out[0]), squares);
    free(y), free(dx), free(dw);

    /* A row is the same bits whatever stands beside it. */
    Tensor one = tensor_of(2, SHAPE(1, x.dim[1]));
    memcpy(one.data, HALVES(x) + (rows - 1) * x.dim[1], 2 * (size_t)x.dim[1]);
    Call alone = {.table = TABLE(az_linear_ops), .name = "LinearFloat", .ints = {1, 0, x.dim[1], n}, .floats = {1}, .in = {one, pack.out[0]}, .num_inputs = 2};
    Call together = alone;
    together.in[0] = x, together.ints[0] = rows;
    must_run(&alone);
    must_run(&together);
    check(!memcmp(alone.out[0].data, FLOATS(together.out[0]) + (rows - 1) * n, 4 * (size_t)n), "a row depends on its neighbours");
  }
}

/* Two layers with adapters about one without, or gate and up with them: what adapters add, and their gradients. */
static void test_adapters(void) {
  static const int64_t shapes[][2] = {{1, 1}, {37, 53}, {70, 64}, {530, 40}};
  for (int s = 0; s < 8; s++) {
    const int64_t tokens = shapes[s / 2][0], width = shapes[s / 2][1], is_pair = s % 2, num = is_pair ? 2 : 3;
    const int64_t rows[] = {is_pair ? 45 : 70, 45, 150}, rank[] = {3, is_pair ? 16 : 0, 30}, stride = ROUND_UP(is_pair ? 19 : 33, 32);
    const float scale[] = {0.5f, 2, 4};
    int64_t total = 0, ranks = 0, first_row[3], first_rank[3];
    Tensor a[3], b[3], x = padded_waves(1, tokens, width);
    Call pack = {.table = TABLE(az_adapter_ops), .name = "PackAdapters", .ints = {is_pair}};
    for (int i = 0; i < num; i++) {
      first_row[i] = total, first_rank[i] = ranks;
      total += ROUND_UP(rows[i], 32), ranks += rank[i];
      pack.ints[1 + i] = rows[i], pack.ints[9 + i] = rank[i], pack.floats[i] = scale[i];
      if (rank[i]) a[i] = pack.in[pack.num_inputs++] = exact_waves(10 + i, rank[i], width);
    }
    for (int i = 0; i < num; i++)
      if (rank[i]) b[i] = pack.in[pack.num_inputs++] = exact_waves(20 + i, rows[i], rank[i]);
    must_run(&pack);
    /* Column of a group's results where output j of layer i stands. */
#define COLUMN(i, j) (is_pair ? (j) / 16 * 32 + 16 * (i) + (j) % 16 : first_row[i] + (j))
    Tensor dy = HALF_WAVES(2, tokens, total), h = padded_waves(3, tokens, ranks), dh = padded_waves(4, tokens, ranks);
    double *hidden = doubles(tokens * ranks), *y = doubles(tokens * total), *back = doubles(tokens * ranks), *dx = doubles(tokens * width);
    for (int64_t n = 0; n < tokens; n++)
      for (int i = 0; i < num; i++)
        for (int64_t r = 0; r < rank[i]; r++) {
          const int64_t at = first_rank[i] + r;
          for (int64_t k = 0; k < width; k++) {
            const double value = FLOATS(a[i])[r * width + k];
            hidden[n * ranks + at] += AT(x, n, k) * value;
            dx[n * width + k] += AT(dh, n, at) * value;
          }
          for (int64_t j = 0; j < rows[i]; j++) {
            const double value = scale[i] * FLOATS(b[i])[j * rank[i] + r];
            y[n * total + COLUMN(i, j)] += AT(h, n, at) * value;
            back[n * ranks + at] += AT(dy, n, COLUMN(i, j)) * value;
          }
        }
    /* Each product both alone and added to one by zeros. */
    Tensor none = half_waves(5, SHAPE(tokens, 32));
    memset(none.data, 0, 2 * (size_t)count_of(none));
    const Tensor left[] = {x, h, dy, dh}, right[] = {pack.out[0], pack.out[2], pack.out[3], pack.out[1]};
    const int64_t columns[] = {ranks, total, ranks, width};
    double *const expected[] = {hidden, y, back, dx};
    for (int p = 0; p < 4; p++) {
      Call alone = {.table = TABLE(az_linear_ops), .name = "LinearFloat", .ints = {tokens, 0, left[p].dim[1], columns[p]}, .floats = {1}};
      alone.in[0] = left[p], alone.in[1] = right[p], alone.num_inputs = 2;
      must_run(&alone);
      check_close("product", alone.out[0], expected[p], EXACT);
      Tensor w = tensor_of(4, SHAPE(columns[p], 32));
      memset(w.data, 0, 4 * (size_t)count_of(w));
      Call zeros = {.table = TABLE(az_linear_ops), .name = "Pack", .in = {w}, .num_inputs = 1};
      must_run(&zeros);
      Call added = {.table = TABLE(az_linear_ops), .name = "LinearFloat", .ints = {tokens, 0, 32, columns[p], 0, left[p].dim[1]}, .floats = {1}};
      added.in[0] = none, added.in[1] = zeros.out[0], added.in[4] = left[p], added.in[5] = right[p], added.num_inputs = 6;
      must_run(&added);
      check_same("added product", added.out[0], alone.out[0], 4);
    }
    free(hidden), free(y), free(back), free(dx);

    Call gradient = {.table = TABLE(az_adapter_ops), .name = "AdapterGradient", .num_inputs = 2};
    const int64_t ints[] = {tokens, is_pair, 0, 0, stride, 0, x.dim[1], width};
    memcpy(gradient.ints, ints, sizeof ints);
    memcpy(gradient.ints + 8, pack.ints + 1, 16 * sizeof(int64_t));
    memcpy(gradient.floats, pack.floats, sizeof gradient.floats);
    for (int is_b = 0; is_b < 2; is_b++) {
      gradient.in[0] = is_b ? h : dh, gradient.in[1] = is_b ? dy : x;
      gradient.ints[2] = is_b, gradient.ints[6] = gradient.in[1].dim[1];
      memset(gradient.out, 0, sizeof gradient.out);
      gradient.num_outputs = 0;
      for (int i = 0; i < num; i++) gradient.num_outputs += rank[i] > 0;
      must_run(&gradient);
      for (int i = 0, out = 0; i < num; i++) {
        if (!rank[i]) continue;
        double *da = doubles(rank[i] * (is_b ? rows[i] : width));
        for (int64_t n = 0; n < tokens; n++)
          for (int64_t r = 0; r < rank[i]; r++)
            for (int64_t k = 0; k < (is_b ? rows[i] : width); k++)
              if (is_b) da[k * rank[i] + r] += scale[i] * AT(dy, n, COLUMN(i, k)) * AT(h, n, first_rank[i] + r);
              else da[r * width + k] += AT(dh, n, first_rank[i] + r) * AT(x, n, k);
        check_close(is_b ? "dB" : "dA", gradient.out[out++], da, 4 * EXACT);
        /* A layer alone, its ranks where they stand among the others. */
        Call alone = {.table = TABLE(az_adapter_ops), .name = "AdapterGradient", .num_inputs = 2, .num_outputs = 1, .in = {gradient.in[0], gradient.in[1]}};
        const int64_t own[] = {tokens, 0, is_b, first_rank[i], stride, is_b ? first_row[i] : 0, gradient.in[1].dim[1], width, rows[i]};
        memcpy(alone.ints, own, sizeof own);
        alone.ints[16] = rank[i], alone.floats[0] = scale[i];
        if (!is_b || !is_pair) {
          must_run(&alone);
          check_close(is_b ? "dB alone" : "dA alone", alone.out[0], da, 4 * EXACT);
        }
        free(da);
      }
    }
  }
}

static void test_norm(void) {
  static const int64_t shapes[][2] = {{1, 1}, {3, 17}, {65, 33}, {70, 64}};
  for (int s = 0; s < 4; s++) {
    const int64_t rows = shapes[s][0], width = shapes[s][1];
    Tensor x = WAVES(1, rows, width), g = WAVES(2, width), dh = padded_waves(3, rows, width), residual = WAVES(4, rows, width);
    double *y = doubles(rows * width), *r = doubles(rows), *dx = doubles(rows * width), *dg = doubles(width);
    for (int64_t n = 0; n < rows; n++) {
      double squares = 0, mean = 0;
      for (int64_t k = 0; k < width; k++) squares += (double)FLOATS(x)[n * width + k] * FLOATS(x)[n * width + k];
      r[n] = 1 / sqrt(squares / (double)width + (double)1e-5f);
      for (int64_t k = 0; k < width; k++) {
        double normal = FLOATS(x)[n * width + k] * r[n], d = from_half(HALVES(dh)[n * dh.dim[1] + k]);
        y[n * width + k] = normal * FLOATS(g)[k];
        dg[k] += d * normal;
        mean += d * FLOATS(g)[k] * normal / (double)width;
      }
      for (int64_t k = 0; k < width; k++) {
        double normal = FLOATS(x)[n * width + k] * r[n], d = from_half(HALVES(dh)[n * dh.dim[1] + k]);
        dx[n * width + k] = r[n] * (d * FLOATS(g)[k] - normal * mean) + FLOATS(residual)[n * width + k];
      }
    }
    Call forward = {.table = TABLE(az_norm_ops), .name = "RmsNorm", .ints = {rows, width}, .floats = {1e-5f}, .in = {x, g}, .num_inputs = 2};
    must_run(&forward);
    check_close("y", columns_of(forward.out[0], width), y, ROUNDED);
    check_padding("y", forward.out[0], width);
    check_close("r", forward.out[1], r, EXACT);
    Call back = {.table = TABLE(az_norm_ops), .name = "RmsNormBackward", .ints = {rows, width, 0, dh.dim[1]}, .num_inputs = 5};
    back.in[0] = dh, back.in[1] = x, back.in[2] = g, back.in[3] = forward.out[1], back.in[4] = residual;
    must_run(&back);
    check_close("dx", back.out[0], dx, 2 * EXACT);
    check_close("dx in bfloat16", columns_of(back.out[1], width), dx, ROUNDED);
    check_padding("dx", back.out[1], width);
    check_close("dg", back.out[2], dg, 2 * EXACT);
    free(y), free(r), free(dx), free(dg);
  }
}

/* o and, from dO, dq, dk and dv of one batch row and head group after the other. */
static void test_attention(void) {
  static const int64_t shapes[][5] = {{1, 1, 1, 1, 2}, {2, 5, 2, 1, 20}, {1, 67, 3, 3, 32}, {1, 131, 2, 1, 64}, {3, 33, 4, 2, 96}};
  const double scale = 0.3;
  for (int s = 0; s < 5; s++) {
    const int64_t b = shapes[s][0], t = shapes[s][1], h = shapes[s][2], g = shapes[s][3], d = shapes[s][4], rows = b * t;
    Tensor q = padded_waves(1, rows, h * d), k = padded_waves(2, rows, g * d), v = padded_waves(3, rows, g * d);
    Tensor d_out = padded_waves(4, rows, h * d);
    double *o = doubles(rows * h * d), *grad = doubles(rows * (h + 2 * g) * d), *p = doubles(t);
    const int64_t width = (h + 2 * g) * d;
    for (int64_t query = 0; query < rows * h; query++) {
      const int64_t row = query / h, head = query % h, group = head * g / h, first = row / t * t, count = row % t + 1;
      double most = -1e300, sum = 0, delta = 0;
      for (int64_t j = 0; j < count; j++) {
        p[j] = 0;
        for (int64_t i = 0; i < d; i++) p[j] += scale * AT(q, row, head * d + i) * AT(k, first + j, group * d + i);
        most = fmax(most, p[j]);
      }
      for (int64_t j = 0; j < count; j++) sum += p[j] = exp(p[j] - most);
      for (int64_t j = 0; j < count; j++) {
        p[j] /= sum;
        for (int64_t i = 0; i < d; i++) {
          o[row * h * d + head * d + i] += p[j] * AT(v, first + j, group * d + i);
          delta += p[j] * AT(d_out, row, head * d + i) * AT(v, first + j, group * d + i);
        }
      }
      for (int64_t j = 0; j < count; j++) {
        double dp = 0;
        for (int64_t i = 0; i < d; i++) dp += AT(d_out, row, head * d + i) * AT(v, first + j, group * d + i);
        const double ds = scale * p[j] * (dp - delta);
        for (int64_t i = 0; i < d; i++) {
          grad[row * width + head * d + i] += ds * AT(k, first + j, group * d + i);
          grad[(first + j) * width + (h + group) * d + i] += ds * AT(q, row, head * d + i);
          grad[(first + j) * width + (h + g + group) * d + i] += p[j] * AT(d_out, row, head * d + i);
        }
      }
    }
    const int64_t ints[] = {b, t, h, g, d, 0, q.dim[1], 0, k.dim[1], 0, v.dim[1], 0, q.dim[1], 0, q.dim[1]};
    Call forward = {.table = TABLE(az_attention_ops), .name = "Attention", .floats = {(float)scale}, .in = {q, k, v}, .num_inputs = 3};
    memcpy(forward.ints, ints, sizeof ints);
    must_run(&forward);
    check_close("o", columns_of(forward.out[0], h * d), o, 2 * ROUNDED);
    check_padding("o", forward.out[0], h * d);
    Call back = {.table = TABLE(az_attention_ops), .name = "AttentionBackward", .floats = {(float)scale}, .num_inputs = 6};
    memcpy(back.ints, ints, sizeof ints);
    back.in[0] = q, back.in[1] = k, back.in[2] = v, back.in[3] = forward.out[0], back.in[4] = d_out, back.in[5] = forward.out[1];
    must_run(&back);
    /* dq, dk and dv side by side, each padded */
    const int64_t q_part = ROUND_UP(h * d, 32), k_part = ROUND_UP(g * d, 32);
    Tensor found = tensor_of(4, SHAPE(rows, width));
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < width; i++) {
        const int64_t column = i < h * d ? i : i < (h + g) * d ? q_part + i - h * d : q_part + k_part + i - (h + g) * d;
        FLOATS(found)[r * width + i] = from_half(HALVES(back.out[0])[r * back.out[0].dim[1] + column]);
      }
    check_close("gradients", found, grad, 3 * ROUNDED);
    free(o), free(grad), free(p);
  }
}

static void test_head(void) {
  static const int64_t shapes[][3] = {{1, 2, 1}, {5, 37, 17}, {33, 100, 40}, {70, 65, 64}, {40, 1300, 24}};
  for (int s = 0; s < 5; s++) {
    const int64_t tokens = shapes[s][0], vocabulary = shapes[s][1], width = shapes[s][2];
    Tensor x = padded_waves(1, tokens, width), w = exact_waves(2, vocabulary, width), targets = tensor_of(8, SHAPE(tokens));
    Tensor weights = WAVES(3, tokens);
    Call pack = {.table = TABLE(az_linear_ops), .name = "Pack", .in = {w}, .num_inputs = 1};
    must_run(&pack);
    double loss = 0, *nll = doubles(tokens), *dx = doubles(tokens * width), *dw = doubles(vocabulary * width), *p = doubles(vocabulary);
    for (int64_t n = 0; n < tokens; n++) {
      const int64_t target = LONGS(targets)[n] = (n * 7 + 3) % vocabulary;
      double most = -1e300, sum = 0;
      for (int64_t j = 0; j < vocabulary; j++) {
        p[j] = 0;
        for (int64_t k = 0; k < width; k++) p[j] += AT(x, n, k) * FLOATS(w)[j * width + k];
        most = fmax(most, p[j]);
      }
      nll[n] = most - p[target];
      for (int64_t j = 0; j < vocabulary; j++) sum += p[j] = exp(p[j] - most);
      nll[n] += log(sum);
      loss += nll[n] * FLOATS(weights)[n];
      for (int64_t j = 0; j < vocabulary; j++) {
        const double d = FLOATS(weights)[n] * (p[j] / sum - (j == target));
        for (int64_t k = 0; k < width; k++) {
          dx[n * width + k] += d * FLOATS(w)[j * width + k];
          dw[j * width + k] += d * AT(x, n, k);
        }
      }
    }
    Call call = {.table = TABLE(az_head_ops), .name = "HeadLoss", .ints = {tokens, 0, x.dim[1]}, .num_inputs = 6};
    const Tensor all[] = {x, pack.out[0], pack.out[1], w, targets, weights};
    memcpy(call.in, all, sizeof all);
    must_run(&call);
    check_close("loss", call.out[0], &loss, 1e-4);
    check_close("nll", call.out[1], nll, 1e-4);
    check_close("dx", columns_of(call.out[2], width), dx, 2 * ROUNDED);
    check_padding("dx", call.out[2], width);
    check_close("dw", call.out[3], dw, 2 * ROUNDED);
    /* In one pass, and with logits so far apart that a second is made. */
    Call frozen = call;
    memset(frozen.out, 0, sizeof frozen.out);
    frozen.unwanted = 8;
    must_run(&frozen);
    check_close("loss, weight frozen", frozen.out[0], &loss, 1e-4);
    check_close("nll, weight frozen", frozen.out[1], nll, 1e-4);
    check_close("dx, weight frozen", columns_of(frozen.out[2], width), dx, 2 * ROUNDED);
    check_padding("dx, weight frozen", frozen.out[2], width);
    Call steep[2];
    for (int64_t i = 0; i < count_of(w); i++) FLOATS(w)[i] *= i / width < 512 ? 1 : 128;
    Call repack = pack;
    memset(repack.out, 0, sizeof repack.out);
    must_run(&repack);
    for (int i = 0; i < 2; i++) {
      steep[i] = i ? frozen : call;
      memset(steep[i].out, 0, sizeof steep[i].out);
      steep[i].in[1] = repack.out[0], steep[i].in[2] = repack.out[1];
      must_run(&steep[i]);
    }
    double *steep_nll = doubles(tokens), *steep_dx = doubles(tokens * width);
    for (int64_t n = 0; n < tokens; n++) steep_nll[n] = FLOATS(steep[0].out[1])[n];
    for (int64_t i = 0; i < tokens * width; i++) steep_dx[i] = AT(steep[0].out[2], i / width, i % width);
    check_close("nll of far logits, weight frozen", steep[1].out[1], steep_nll, 1e-4);
    check_close("dx of far logits, weight frozen", columns_of(steep[1].out[2], width), steep_dx, 4 * ROUNDED);
    free(steep_nll), free(steep_dx);
    LONGS(targets)[0] = vocabulary;
    Call refused = call;
    check(run_op(&refused) != NULL, "a target outside the vocabulary is not refused");
    free(nll), free(dx), free(dw), free(p);
  }
}

static void test_decode_linear(void) {
  static const int64_t shapes[][3] = {{1, 1, 1}, {3, 17, 5}, {17, 40, 33}, {33, 64, 100}, {40, 33, 64}};
  for (int s = 0; s < 5; s++) {
    const int64_t rows = shapes[s][0], width = shapes[s][1], n = shapes[s][2];
    Tensor x = exact_waves(1, rows, width), w = exact_waves(2, n, width), residual = WAVES(3, rows, n), bias = WAVES(4, n);
    double *y = doubles(rows * n);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t j = 0; j < n; j++) {
        y[r * n + j] = FLOATS(residual)[r * n + j] + FLOATS(bias)[j];
        for (int64_t k = 0; k < width; k++) y[r * n + j] += (double)FLOATS(x)[r * width + k] * FLOATS(w)[j * width + k];
      }
    Call pack = {.table = TABLE(az_decode_pack_ops), .name = "DecodePack", .in = {w}, .num_inputs = 1};
    must_run(&pack);
    for (int threads = 1; threads <= 2; threads++) {
      Call call = {.table = TABLE(az_decode_linear_ops), .name = "DecodeLinear", .ints = {threads, 0, rows, width, n}, .num_inputs = 8};
      call.in[0] = x, call.in[2] = residual, call.in[3] = bias, call.in[7] = pack.out[0];
      must_run(&call);
      check_close("y", call.out[0], y, EXACT);
    }
    free(y);
  }
}

AT_EACH_LEVEL(test_linear)
AT_EACH_LEVEL(test_adapters)
AT_EACH_LEVEL(test_norm)
AT_EACH_LEVEL(test_attention)
AT_EACH_LEVEL(test_head)
AT_EACH_LEVEL(test_decode_linear)

const Test half_tests[] = {
    {"bfloat16 linear layers and their gradients are exact up to the sum; rows do not depend on neighbours", test_linear_each, LEVEL_PORTABLE},
    {"bfloat16 adapters: what they add and their gradients are exact up to the sum", test_adapters_each, LEVEL_PORTABLE},
    {"bfloat16 norm and its gradient are those of float64 up to rounding", test_norm_each, LEVEL_PORTABLE},
    {"bfloat16 attention and its gradient are those of float64 up to rounding", test_attention_each, LEVEL_PORTABLE},
    {"bfloat16 head: loss and gradients are those of float64 up to rounding", test_head_each, LEVEL_PORTABLE},
    {"bfloat16 linear layers of decoding are exact up to the sum", test_decode_linear_each, LEVEL_PORTABLE},
    {0},
};
