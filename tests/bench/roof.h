#ifndef TESTS_BENCH_ROOF_H
#define TESTS_BENCH_ROOF_H

/* Each runs `rounds` rounds and returns the operations done. */
double bench_roof_c(int rounds);
double bench_roof_avx2(int rounds);
double bench_roof_avx512(int rounds);
double bench_roof_dots(int rounds); /* of pairs of bfloat16, summed in float */

#endif
