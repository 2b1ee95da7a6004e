// Noise as torch's CUDA generator draws it: float32 normal numbers. The arithmetic is described in
// engine/cuda/philox.py, which is its oracle.
//
// One thread makes one Philox block, four numbers that lie `stride` apart. `stride` is how many
// threads the GPU holds whose noise is wanted; the GPU that runs this may be another.

static __device__ void philox_round(unsigned int c[4], unsigned int k0, unsigned int k1)
{
    unsigned long long first = 0xD2511F53ull * c[0];
    unsigned long long second = 0xCD9E8D57ull * c[2];
    c[0] = (unsigned int)(second >> 32) ^ c[1] ^ k0;
    c[1] = (unsigned int)second;
    c[2] = (unsigned int)(first >> 32) ^ c[3] ^ k1;
    c[3] = (unsigned int)first;
}

static __device__ void box_muller(unsigned int x, unsigned int y, float *sine, float *cosine)
{
    const float unit = 2.3283064e-10f;        // 2^-32
    const float angle = unit * 6.2831855f;
    float u = fmaf((float)x, unit, unit / 2);
    float v = fmaf((float)y, angle, angle / 2);
    float radius = sqrtf(-2.0f * logf(u));
    __sincosf(v, sine, cosine);  // the fast ones, as curand uses them
    *sine *= radius;
    *cosine *= radius;
}

extern "C" __global__ void philox_normal(
    float *out, unsigned long long elements, unsigned long long seed, unsigned long long block,
    unsigned int stride)
{
    unsigned long long work = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    unsigned int thread = (unsigned int)(work % stride);
    unsigned long long pass = work / stride;
    unsigned long long first = pass * 4 * stride + thread;
    if (first >= elements)
        return;

    block += pass;
    unsigned int c[4] = {(unsigned int)block, (unsigned int)(block >> 32), thread, 0};
    unsigned int k0 = (unsigned int)seed, k1 = (unsigned int)(seed >> 32);
    for (int i = 0; i < 10; i++) {
        philox_round(c, k0, k1);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    float lanes[4];
    box_muller(c[0], c[1], &lanes[0], &lanes[1]);
    box_muller(c[2], c[3], &lanes[2], &lanes[3]);
    for (int i = 0; i < 4; i++)
        if (first + (unsigned long long)i * stride < elements)
            out[first + (unsigned long long)i * stride] = lanes[i];
}
