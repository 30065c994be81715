/* The C bound of the signature stage: normalise ASCII, hash words, roll word n-grams, reduce to signatures, one document after another.
   It gives ASCII documents the signatures that the pipeline gives them, and nothing else that the stage owes: no other script,
   no table. Compiled by the benchmark with gcc -O3 -march=native. */
#include <stdint.h>
#include <stddef.h>
#include <string.h>
#define SEED 0x243F6A8885A308D3ull
#define CHUNK 0x9E3779B97F4A7C15ull
#define LENGTH 0xA0761D6478BD642Full
#define STEP 0xD6E8FEB86659FD93ull
#define LOW 0x0101010101010101ull
#define HIGH 0x8080808080808080ull
static inline uint64_t load(const uint8_t *p) { uint64_t x; memcpy(&x, p, 8); return x; }
static inline uint64_t fmix64(uint64_t h) {
    h = (h ^ (h >> 33)) * 0xFF51AFD7ED558CCDull; h = (h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53ull; return h ^ (h >> 33);
}
size_t normalise(const uint8_t *text, size_t size, const uint8_t *map, uint8_t *out) {
    size_t written = 0; uint8_t after_blank = 1;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = map[text[i]], blank = byte == 32;
        out[written] = byte; written += 1 - (blank & after_blank); after_blank = blank;
    }
    return written && out[written - 1] == 32 ? written - 1 : written;
}
size_t hash_words(const uint8_t *data, size_t end, uint64_t *out) {
    size_t begin = 0, word = 0;
    while (begin < end) {
        uint64_t h = SEED; size_t i = begin, size;
        do {
            uint64_t chunk = load(data + i), unlike = chunk ^ (LOW * 32), blanks = (unlike - LOW) & ~unlike & HIGH;
            size = blanks ? __builtin_ctzll(blanks) >> 3 : 8;
            if (size > end - i) size = end - i;
            if (size) { h = (h ^ (chunk & (~0ull >> (64 - 8 * size)))) * CHUNK; h ^= h >> 32; }
            i += size;
        } while (size == 8);
        out[word++] = fmix64(h ^ (i - begin) * LENGTH);
        begin = i + 1;
    }
    return word;
}
size_t shingles(const uint64_t *units, size_t n, size_t ngram, uint32_t *out) {
    uint64_t h = 0, top = 1; size_t into = 0;
    for (size_t i = 0; i < ngram && i < n; i++) { h = h * STEP + units[i]; if (i) top *= STEP; }
    if (!n) return 0;
    top *= STEP;
    for (size_t i = ngram; ; i++) {
        uint32_t x = (uint32_t)h; x = (x ^ (x >> 16)) * 0x85EBCA6Bu; x = (x ^ (x >> 13)) * 0xC2B2AE35u; out[into++] = x ^ (x >> 16);
        if (i >= n) return into;
        h = h * STEP + (units[i] - units[i - ngram] * top);
    }
}
void minhash(const uint32_t *mixed, size_t n, const uint32_t *a, const uint32_t *b, size_t num_perm, uint32_t *out) {
    for (size_t k = 0; k < num_perm; k += 4) {
        uint32_t m0 = ~0u, m1 = ~0u, m2 = ~0u, m3 = ~0u;
        for (size_t i = 0; i < n; i++) {
            uint32_t h = mixed[i], v;
            v = a[k] * h + b[k]; m0 = v < m0 ? v : m0;
            v = a[k + 1] * h + b[k + 1]; m1 = v < m1 ? v : m1;
            v = a[k + 2] * h + b[k + 2]; m2 = v < m2 ? v : m2;
            v = a[k + 3] * h + b[k + 3]; m3 = v < m3 ? v : m3;
        }
        out[k] = m0; out[k + 1] = m1; out[k + 2] = m2; out[k + 3] = m3;
    }
}
void sign(const uint8_t *data, const int64_t *offsets, size_t documents, const uint8_t *map, size_t ngram, const uint32_t *a,
          const uint32_t *b, size_t num_perm, uint8_t *text, uint64_t *units, uint32_t *mixed, uint32_t *out) {
    for (size_t d = 0; d < documents; d++) {
        size_t size = normalise(data + offsets[d], offsets[d + 1] - offsets[d], map, text);
        size_t n = shingles(units, hash_words(text, size, units), ngram, mixed);
        minhash(mixed, n, a, b, num_perm, out + d * num_perm);
    }
}
