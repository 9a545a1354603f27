// RGB pictures to I420 in WebAssembly, 16 pixels at a time. build.sh puts what a
// compiler makes of it into ../i420.js.
//
// The equations are those of ITU-R BT.601 and BT.709, limited range, in 1/256; the
// caller gives them in the order of the bytes, so that one function does for RGBA and
// BGRA. Chroma is the mean of four pixels: it sits between them, as in JPEG.

#include <stdint.h>
#include <wasm_simd128.h>

typedef v128_t v;

typedef struct {
  v c0, c1, c2; // of 16 pixels, one byte each
} pixels;

static inline pixels load(const uint8_t *p) {
  v a = wasm_v128_load(p), b = wasm_v128_load(p + 16), c = wasm_v128_load(p + 32), d = wasm_v128_load(p + 48);
  v ab = wasm_i8x16_shuffle(a, b, 0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
  v cd = wasm_i8x16_shuffle(c, d, 0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
  v ab2 = wasm_i8x16_shuffle(a, b, 2, 6, 10, 14, 18, 22, 26, 30, 2, 6, 10, 14, 18, 22, 26, 30);
  v cd2 = wasm_i8x16_shuffle(c, d, 2, 6, 10, 14, 18, 22, 26, 30, 2, 6, 10, 14, 18, 22, 26, 30);
  return (pixels){wasm_i64x2_shuffle(ab, cd, 0, 2), wasm_i64x2_shuffle(ab, cd, 1, 3), wasm_i64x2_shuffle(ab2, cd2, 0, 2)};
}

static inline v luma(pixels p, v k0, v k1, v k2) {
  const v half = wasm_i16x8_splat(128);
  v low = wasm_i16x8_add(wasm_i16x8_add(wasm_u16x8_extmul_low_u8x16(p.c0, k0), wasm_u16x8_extmul_low_u8x16(p.c1, k1)),
                         wasm_i16x8_add(wasm_u16x8_extmul_low_u8x16(p.c2, k2), half));
  v high = wasm_i16x8_add(wasm_i16x8_add(wasm_u16x8_extmul_high_u8x16(p.c0, k0), wasm_u16x8_extmul_high_u8x16(p.c1, k1)),
                          wasm_i16x8_add(wasm_u16x8_extmul_high_u8x16(p.c2, k2), half));
  return wasm_i8x16_add(wasm_u8x16_narrow_i16x8(wasm_u16x8_shr(low, 8), wasm_u16x8_shr(high, 8)), wasm_i8x16_splat(16));
}

// mean of 2 by 2 bytes: 8 of them, 16 bits each.
static inline v mean(v a, v b) {
  return wasm_u16x8_shr(wasm_i16x8_add(wasm_i16x8_add(wasm_u16x8_extadd_pairwise_u8x16(a), wasm_u16x8_extadd_pairwise_u8x16(b)), wasm_i16x8_splat(2)), 2);
}

static inline v chroma(v c0, v c1, v c2, v k0, v k1, v k2) {
  const v half = wasm_i16x8_splat(128);
  v sum = wasm_i16x8_add(wasm_i16x8_add(wasm_i16x8_mul(c0, k0), wasm_i16x8_mul(c1, k1)), wasm_i16x8_add(wasm_i16x8_mul(c2, k2), half));
  return wasm_i16x8_add(wasm_i16x8_shr(sum, 8), half);
}

static inline int at(const uint8_t *p, const int32_t *k) { return (p[0] * k[0] + p[1] * k[1] + p[2] * k[2] + 128) >> 8; }

// i420 converts w by h pixels of 4 bytes. k holds the factors of Y, U and V for the
// first three bytes of a pixel; the rows of the planes are ys and cs bytes apart.
__attribute__((export_name("i420"))) void i420(const uint8_t *src, uint8_t *y, uint8_t *u, uint8_t *vv, int w, int h, int ys, int cs, const int32_t *k) {
  const v y0 = wasm_i8x16_splat(k[0]), y1 = wasm_i8x16_splat(k[1]), y2 = wasm_i8x16_splat(k[2]);
  const v u0 = wasm_i16x8_splat(k[3]), u1 = wasm_i16x8_splat(k[4]), u2 = wasm_i16x8_splat(k[5]);
  const v v0 = wasm_i16x8_splat(k[6]), v1 = wasm_i16x8_splat(k[7]), v2 = wasm_i16x8_splat(k[8]);
  for (int j = 0; j < h; j += 2) {
    int pair = j + 1 < h; // the last row of an odd number is alone
    const uint8_t *a = src + j * w * 4, *b = pair ? a + w * 4 : a;
    uint8_t *ya = y + j * ys, *yb = pair ? ya + ys : ya, *uc = u + j / 2 * cs, *vc = vv + j / 2 * cs;
    int i = 0;
    for (; i + 16 <= w; i += 16) {
      pixels p = load(a + i * 4), q = load(b + i * 4);
      wasm_v128_store(ya + i, luma(p, y0, y1, y2));
      wasm_v128_store(yb + i, luma(q, y0, y1, y2));
      v c0 = mean(p.c0, q.c0), c1 = mean(p.c1, q.c1), c2 = mean(p.c2, q.c2);
      v uv = wasm_u8x16_narrow_i16x8(chroma(c0, c1, c2, u0, u1, u2), chroma(c0, c1, c2, v0, v1, v2));
      wasm_v128_store64_lane(uc + i / 2, uv, 0);
      wasm_v128_store64_lane(vc + i / 2, uv, 1);
    }
#pragma clang loop vectorize(disable) unroll(disable)
    for (; i < w; i += 2) {
      int next = i + 1 < w ? 4 : 0;
      const uint8_t *p = a + i * 4, *q = b + i * 4;
      ya[i] = at(p, k) + 16;
      yb[i] = at(q, k) + 16;
      if (next) {
        ya[i + 1] = at(p + 4, k) + 16;
        yb[i + 1] = at(q + 4, k) + 16;
      }
      uint8_t c[3];
      for (int n = 0; n < 3; n++) c[n] = (p[n] + p[next + n] + q[n] + q[next + n] + 2) >> 2;
      uc[i / 2] = at(c, k + 3) + 128;
      vc[i / 2] = at(c, k + 6) + 128;
    }
  }
}
