/* The C bound of the signature stage on raw text that lies in memory: words are what ASCII white space separates, nothing is normalised.
   It gives plain ASCII documents the signatures that the pipeline gives them and owes nothing else: no other script, no table, and of
   each hash only the low 32 bits that enter a signature. One document after another, so that all but the text stays in near caches.
   Compiled by the benchmark with gcc -O3 -march=native. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define SEED 0x243F6A8885A308D3ull
#define CHUNK 0x9E3779B97F4A7C15ull
#define LENGTH 0xA0761D6478BD642Full
#define STEP 0xD6E8FEB86659FD93ull
#define FMIX 0xFF51AFD7ED558CCDull
static const uint64_t LOW_BYTES[9] = {0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFF, 0xFFFFFFFFFFFF, 0xFFFFFFFFFFFFFF, ~0ull};
static inline uint64_t load(const uint8_t *p) { uint64_t x; memcpy(&x, p, 8); return x; }
static inline uint64_t mix(uint64_t h, uint64_t chunk) { h = (h ^ chunk) * CHUNK; return h ^ (h >> 32); }
/* Eight bytes from `p` on, zeros behind the last byte of all text; `limit` is the last place with eight bytes. */
static inline uint64_t load_within(const uint8_t *p, const uint8_t *limit) {
    return p <= limit ? load(p) : load(limit) >> (8 * (p - limit));
}
/* One bit a byte, set where white space stands: 9 to 13, 28 to 32. Bytes from `size` on count as white space. */
static inline uint64_t white_bits(const uint8_t *p, size_t size) {
    uint8_t tail[64];
    if (size < 64) { memset(tail, 32, 64); memcpy(tail, p, size); p = tail; }
    uint64_t bits = 0;
#ifdef __AVX2__
    const __m256i tab = _mm256_set1_epi8(9), separator = _mm256_set1_epi8(28), four = _mm256_set1_epi8(4);
    for (int half = 0; half < 2; half++) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(p + 32 * half));
        __m256i low = _mm256_sub_epi8(x, tab), high = _mm256_sub_epi8(x, separator), least = _mm256_min_epu8(low, high);
        bits |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(least, four), least)) << (32 * half);
    }
#else
    for (int i = 0; i < 64; i++) bits |= (uint64_t)((uint8_t)(p[i] - 9) <= 4 || (uint8_t)(p[i] - 28) <= 4) << i;
#endif
    return bits;
}
/* Where words begin and end, alternately. */
static size_t find_edges(const uint8_t *data, size_t size, uint32_t *out) {
    size_t count = 0;
    uint64_t before = 0;
    for (size_t at = 0; at <= size; at += 64) {
        uint64_t word = ~white_bits(data + at, size - at), edges = word ^ (word << 1 | before);
        before = word >> 63;
        /* eight at a time, wanted or not: a loop that ends when there are no more ends where the processor does not expect it */
        size_t wanted = (size_t)__builtin_popcountll(edges);
        for (size_t done = 0; done < wanted; done += 8)
            for (size_t i = 0; i < 8; i++, edges &= edges - 1)
                out[count + done + i] = (uint32_t)at + (uint32_t)__builtin_ctzll(edges | 1ull << 63);
        count += wanted;
    }
    return count;
}
static inline uint32_t hash_word(const uint8_t *p, size_t size, const uint8_t *limit) {
    /* a second chunk without asking whether there is one: a wrong guess of the processor costs more */
    size_t first = size < 8 ? size : 8, more = size - first, second = more < 8 ? more : 8;
    uint64_t h = mix(SEED, load_within(p, limit) & LOW_BYTES[first]);
    uint64_t longer = mix(h, load_within(p + second, limit) >> (8 * (8 - second) & 63) & LOW_BYTES[second]);
    h ^= (h ^ longer) & -(uint64_t)(more > 0);
    for (; more > 8; more -= 8) {
        p += 8;
        h = mix(h, load_within(p + 8, limit) & LOW_BYTES[more < 16 ? more - 8 : 8]);
    }
    h = (h ^ size * LENGTH) * FMIX;
    return (uint32_t)(h ^ (h >> 32));
}
/* Replace units by n-grams, mixed once (fmix32), and return how many there are. Arithmetic modulo 2^32 is that modulo 2^64, cut. */
static size_t make_shingles(uint32_t *units, size_t n, size_t ngram) {
    const uint32_t step = (uint32_t)STEP;
    size_t width = n < ngram ? n : ngram, count = n ? n - width + 1 : 0;
    for (size_t at = 0; at < count; at += 256) {
        size_t end = count - at < 256 ? count - at : 256;
        uint32_t h[256], *u = units + at;
        memcpy(h, u, sizeof *h * end);
        for (size_t k = 1; k < width; k++)
            for (size_t i = 0; i < end; i++) h[i] = h[i] * step + u[i + k];
        for (size_t i = 0; i < end; i++) {
            uint32_t x = h[i];
            x = (x ^ (x >> 16)) * 0x85EBCA6Bu; x = (x ^ (x >> 13)) * 0xC2B2AE35u;
            u[i] = x ^ (x >> 16);
        }
    }
    return count;
}
/* Permutations outside, n-grams inside, four minima at a time: the compiler keeps them in registers, eight n-grams wide. The last
   n-gram is repeated until there are a multiple of eight, which changes no minimum and saves the vectors' tail. */
static void minhash(uint32_t *mixed, size_t n, const uint32_t *a, const uint32_t *b, size_t num_perm, uint32_t *out) {
    for (; n % 8; n++) mixed[n] = mixed[n - 1];
    for (size_t k = 0; k < num_perm; k += 4) {
        uint32_t a0 = a[k], a1 = a[k + 1], a2 = a[k + 2], a3 = a[k + 3], b0 = b[k], b1 = b[k + 1], b2 = b[k + 2], b3 = b[k + 3];
        uint32_t m0 = ~0u, m1 = ~0u, m2 = ~0u, m3 = ~0u;
        for (size_t i = 0; i < (n & ~(size_t)7); i++) {
            uint32_t h = mixed[i], v;
            v = a0 * h + b0; m0 = v < m0 ? v : m0;
            v = a1 * h + b1; m1 = v < m1 ? v : m1;
            v = a2 * h + b2; m2 = v < m2 ? v : m2;
            v = a3 * h + b3; m3 = v < m3 ? v : m3;
        }
        out[k] = m0; out[k + 1] = m1; out[k + 2] = m2; out[k + 3] = m3;
    }
}
/* Sign documents of at least eight bytes in all; num_perm is a multiple of four. `edges` and `units` hold as many numbers as the longest
   text has bytes, and sixteen. */
void sign(const uint8_t *data, const int64_t *offsets, size_t documents, size_t ngram, const uint32_t *a, const uint32_t *b,
          size_t num_perm, uint32_t *edges, uint32_t *units, uint32_t *out) {
    const uint8_t *limit = data + offsets[documents] - 8;
    for (size_t d = 0; d < documents; d++) {
        const uint8_t *text = data + offsets[d];
        size_t words = find_edges(text, (size_t)(offsets[d + 1] - offsets[d]), edges) / 2;
        for (size_t i = 0; i < words; i++) units[i] = hash_word(text + edges[2 * i], edges[2 * i + 1] - edges[2 * i], limit);
        minhash(units, make_shingles(units, words, ngram), a, b, num_perm, out + d * num_perm);
    }
}
