// The CUDA runtime (13) for ONNX Runtime's CUDA provider on a machine without a GPU: memory is the
// host's, copies are made at once, kernels do nothing, and every call is written down.
#define _DEFAULT_SOURCE
#include "record.h"
#include <sys/mman.h>

enum { SUCCESS = 0, OUT_OF_MEMORY = 2, ALIGNMENT = 256, DEVICE_MEMORY = 2 };
typedef void *stream;
typedef struct { unsigned x, y, z; } dim3;

// The runtime's cudaDeviceProp (1008 bytes), as far as it is filled in; the rest is zero.
typedef struct {
    char name[256], uuid[16], luid[8];
    unsigned node_mask;
    size_t memory_nbytes, shared_nbytes;
    int registers, warp;
    size_t pitch;
    int threads, block_sides[3], grid_sides[3];
    size_t constant_nbytes;
    int major, minor;
    size_t texture_alignment, texture_pitch_alignment;
    int multiprocessors, rest[150];
} properties;

enum { WARP = 10, THREADS = 1, MULTIPROCESSORS = 16, THREADS_PER_MULTIPROCESSOR = 39,
       SHARED = 8, SHARED_PER_MULTIPROCESSOR = 81, SHARED_AT_MOST = 97, MAJOR = 75, MINOR = 76 };

int cudaGetDeviceCount(int *count) { *count = 1; return SUCCESS; }
int cudaGetDevice(int *ordinal) { *ordinal = 0; return SUCCESS; }
int cudaDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
int cudaRuntimeGetVersion(int *version) { *version = 13000; return SUCCESS; }
const char *cudaGetErrorString(int code) { return code ? "out of memory" : "no error"; }
const char *cudaGetErrorName(int code) { return code ? "cudaErrorMemoryAllocation" : "cudaSuccess"; }

int cudaGetDeviceProperties(properties *gpu, int ordinal)  // those of an H100
{
    (void)ordinal;
    memset(gpu, 0, sizeof *gpu);
    strcpy(gpu->name, "Silent H100");
    gpu->memory_nbytes = (size_t)80 << 30, gpu->shared_nbytes = 48 << 10;
    gpu->registers = 65536, gpu->warp = 32, gpu->threads = 1024, gpu->multiprocessors = 132;
    gpu->block_sides[0] = gpu->block_sides[1] = 1024, gpu->block_sides[2] = 64;
    gpu->grid_sides[0] = 0x7fffffff, gpu->grid_sides[1] = gpu->grid_sides[2] = 65535;
    gpu->major = 9, gpu->minor = 0, gpu->texture_alignment = 512;
    return SUCCESS;
}

int cudaDeviceGetAttribute(int *value, int attribute, int ordinal)
{
    (void)ordinal;
    switch (attribute) {
    case WARP: *value = 32; break;
    case THREADS: *value = 1024; break;
    case MULTIPROCESSORS: *value = 132; break;
    case THREADS_PER_MULTIPROCESSOR: *value = 2048; break;
    case SHARED: *value = 48 << 10; break;
    case SHARED_PER_MULTIPROCESSOR: *value = 228 << 10; break;
    case SHARED_AT_MOST: *value = 227 << 10; break;
    case MAJOR: *value = 9; break;
    case MINOR: *value = 0; break;
    default: *value = 1;
    }
    return SUCCESS;
}

static _Thread_local int last_error;
int cudaPeekAtLastError(void) { return last_error; }
int cudaGetLastError(void) { int code = last_error; last_error = SUCCESS; return code; }

// Memory

// Each block has its size before it, and takes memory only where it is touched.
static void *allocate(const char *call, size_t nbytes)
{
    size_t *block = mmap(NULL, ALIGNMENT + nbytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED)
        abort();
    *block = nbytes;
    record("%s %zu\n", call, nbytes);
    return (char *)block + ALIGNMENT;
}
static int release(const char *call, void *address)
{
    if (!address)
        return SUCCESS;
    size_t *block = (void *)((char *)address - ALIGNMENT), nbytes = *block;
    record("%s %zu\n", call, nbytes);
    munmap(block, ALIGNMENT + nbytes);
    return SUCCESS;
}
// CUDA_BLOCK_AT_MOST stands for a GPU that has no room for larger blocks.
int cudaMalloc(void **address, size_t nbytes)
{
    const char *most = getenv("CUDA_BLOCK_AT_MOST");
    if (most && nbytes > strtoull(most, NULL, 10))
        return last_error = OUT_OF_MEMORY;
    *address = allocate("allocate", nbytes);
    return SUCCESS;
}
int cudaFree(void *address) { return release("free", address); }
int cudaMallocHost(void **address, size_t nbytes)
{ *address = allocate("allocate_pinned", nbytes); return SUCCESS; }
int cudaHostAlloc(void **address, size_t nbytes, unsigned flags)
{ (void)flags; return cudaMallocHost(address, nbytes); }
int cudaFreeHost(void *address) { return release("free_pinned", address); }
int cudaMemGetInfo(size_t *unused, size_t *total)
{ *unused = (size_t)70 << 30, *total = (size_t)80 << 30; return SUCCESS; }

// Weights of the real size would fill the machine: CUDA_COPIES_AT_MOST leaves out what is larger.
static int is_made(size_t nbytes)
{
    const char *most = getenv("CUDA_COPIES_AT_MOST");
    return !most || nbytes <= strtoull(most, NULL, 10);
}
static const char *const KINDS[] = {"host to host", "host to device", "device to host",
                                    "device to device", "default"};
int cudaMemcpy(void *to, const void *from, size_t nbytes, int kind)
{
    record("wait copy %s %zu\n", KINDS[kind], nbytes);
    if (is_made(nbytes))
        memcpy(to, from, nbytes);
    return SUCCESS;
}
int cudaMemcpyAsync(void *to, const void *from, size_t nbytes, int kind, stream on)
{
    record("copy %s %zu stream %p\n", KINDS[kind], nbytes, on);
    if (is_made(nbytes))
        memcpy(to, from, nbytes);
    return SUCCESS;
}
int cudaMemset(void *to, int value, size_t nbytes)
{
    record("wait clear %zu\n", nbytes);
    if (is_made(nbytes))
        memset(to, value, nbytes);
    return SUCCESS;
}
int cudaMemsetAsync(void *to, int value, size_t nbytes, stream on)
{
    record("clear %zu stream %p\n", nbytes, on);
    if (is_made(nbytes))
        memset(to, value, nbytes);
    return SUCCESS;
}
int cudaPointerGetAttributes(void *attributes, const void *address)
{
    struct { int type, ordinal; const void *device, *host; } found = {DEVICE_MEMORY, 0, address, 0};
    memcpy(attributes, &found, sizeof found);
    return SUCCESS;
}

// Streams and events

int cudaStreamCreate(stream *made) { return make_handle(made); }
int cudaStreamCreateWithFlags(stream *made, unsigned flags)
{ (void)flags; return cudaStreamCreate(made); }
int cudaEventCreate(void **made) { return make_handle(made); }
int cudaEventCreateWithFlags(void **made, unsigned flags)
{ (void)flags; return cudaEventCreate(made); }
int cudaEventRecord(void *event, stream on)
{ (void)event; record("event stream %p\n", on); return SUCCESS; }
int cudaStreamWaitEvent(stream on, void *event, unsigned flags)
{ (void)event, (void)flags; record("await_event stream %p\n", on); return SUCCESS; }
int cudaStreamSynchronize(stream on) { record("wait stream %p\n", on); return SUCCESS; }
int cudaEventSynchronize(void *event) { record("wait event %p\n", event); return SUCCESS; }
int cudaDeviceSynchronize(void) { record("wait device\n"); return SUCCESS; }
int cudaStreamIsCapturing(stream on, int *status) { (void)on; *status = 0; return SUCCESS; }

// Kernels: known by the address of their host function.

enum { KERNELS = 1 << 16 };
static struct { const void *function; const char *name; } kernels[KERNELS];

static unsigned place(const void *function)
{
    unsigned at = (uintptr_t)function / 16 * 2654435761u % KERNELS;
    while (kernels[at].function && kernels[at].function != function)
        at = (at + 1) % KERNELS;
    return at;
}
static int launched(const void *function, stream on)
{
    const char *name = kernels[place(function)].name;
    record("launch %s stream %p\n", name ? name : "unknown", on);
    return SUCCESS;
}
void **__cudaRegisterFatBinary(void *image) { (void)image; static void *module; return &module; }
void __cudaRegisterFatBinaryEnd(void **module) { (void)module; }
void __cudaUnregisterFatBinary(void **module) { (void)module; }
void __cudaRegisterFunction(void **module, const char *function, char *stub, const char *name)
{
    (void)module, (void)stub;
    unsigned at = place(function);
    kernels[at].function = function, kernels[at].name = name;
}
void __cudaRegisterVar(void) {}

static _Thread_local struct { dim3 grid, block; size_t shared; stream on; } configuration;
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, stream on)
{
    configuration.grid = grid, configuration.block = block;
    configuration.shared = shared, configuration.on = on;
    return SUCCESS;
}
int __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, stream *on)
{
    *grid = configuration.grid, *block = configuration.block;
    *shared = configuration.shared, *on = configuration.on;
    return SUCCESS;
}
int __cudaGetKernel(const void **kernel, const void *function)
{ *kernel = function; return SUCCESS; }
int __cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments,
                       size_t shared, stream on)
{ (void)grid, (void)block, (void)arguments, (void)shared; return launched(function, on); }
int cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared,
                     stream on)
{ (void)grid, (void)block, (void)arguments, (void)shared; return launched(function, on); }
typedef struct { dim3 grid, block; size_t shared; stream on; } launch_configuration;
int cudaLaunchKernelExC(const launch_configuration *how, const void *function, void **arguments)
{ (void)arguments; return launched(function, how->on); }
int cudaFuncGetAttributes(int *attributes, const void *function)
{
    // cudaFuncAttributes: three sizes, then threads of a block, registers, PTX and binary version.
    (void)function;
    memset(attributes, 0, 3 * sizeof(size_t));
    int *counts = attributes + 6;
    counts[0] = 1024, counts[1] = 32, counts[2] = counts[3] = 90;
    return SUCCESS;
}
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function,
                                                           int threads, size_t shared, unsigned flags)
{ (void)function, (void)threads, (void)shared, (void)flags; *blocks = 2; return SUCCESS; }
