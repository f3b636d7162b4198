/* Times in nanoseconds, counted in cells that are 1.6 % wide. Part of load.c. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include "http.h"

#define SUB 64 /* parts of each doubling in a histogram: 1.6 % */

struct histogram {
    u64 count, most, cells[64 * SUB];
};

static inline void note(struct histogram *h, u64 ns) {
    u64 value = ns < SUB ? SUB : ns;
    int top = 63 - __builtin_clzll(value);
    int cell = (top - 6) * SUB + (int)((value >> (top - 6)) & (SUB - 1));
    h->cells[cell]++;
    h->count++;
    if (ns > h->most) h->most = ns;
}

static inline double part_ms(const struct histogram *h, double part) {
    u64 wanted = (u64)((double)h->count * part), seen = 0;
    if (!h->count) return 0;
    for (int cell = 0; cell < 64 * SUB; cell++) {
        seen += h->cells[cell];
        if (seen > wanted || (seen == h->count)) {
            int top = cell / SUB + 6;
            double low = (double)(((u64)SUB + (u64)(cell % SUB)) << (top - 6)), wide = (double)(1ull << (top - 6));
            double found = (low + wide / 2) / 1e6, most = (double)h->most / 1e6;
            return found < most ? found : most;
        }
    }
    return (double)h->most / 1e6;
}

static inline void print_times(const char *name, const struct histogram *h) {
    printf(", \"%s\": {\"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, \"max\": %.4f}", name, part_ms(h, 0.5),
           part_ms(h, 0.9), part_ms(h, 0.99), (double)h->most / 1e6);
}

#endif
