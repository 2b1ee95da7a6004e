// Lets g++ compile a CUDA kernel: its threads run one after the other on the CPU.
#pragma once
#include <cmath>
#include <cstddef>
#include <utility>

#define __global__
#define __device__
using std::isfinite;
struct Index { unsigned x, y, z; };
static Index threadIdx, blockIdx, blockDim, gridDim;

// Through double: rounded correctly but for about one in 2^29 arguments, as numpy's results are.
static inline float host_logf(float x) { return (float)std::log((double)x); }
static inline void host_sincosf(float x, float *sine, float *cosine)
{
    *sine = (float)std::sin((double)x);
    *cosine = (float)std::cos((double)x);
}
#define logf host_logf
#define __sincosf host_sincosf

template <class... A, std::size_t... I>
void run(void (*kernel)(A...), unsigned blocks, unsigned threads, void **arguments,
         std::index_sequence<I...>)
{
    gridDim = {blocks, 1, 1};
    blockDim = {threads, 1, 1};
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)
            kernel(*(A *)arguments[I]...);
}

template <class... A>
void run(void (*kernel)(A...), unsigned blocks, unsigned threads, void **arguments)
{
    run(kernel, blocks, threads, arguments, std::index_sequence_for<A...>());
}

// Sizes of the parameters, 0 at the end.
template <class... A> const unsigned *sizes(void (*)(A...))
{
    static const unsigned result[] = {(unsigned)sizeof(A)..., 0};
    return result;
}
