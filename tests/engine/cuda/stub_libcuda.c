// A libcuda.so.1 whose calls all succeed and print what they were given: cuda.bindings finds its
// functions through cuGetProcAddress, so this is enough to see that calls arrive as meant.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t handle;
static handle new_handle(void) { static handle last = 0x100; return ++last; }

static int zero(void) { return 0; }
static int version(int *value) { *value = 13000; return 0; }
static int give_handle(handle *result) { *result = new_handle(); return 0; }
static int device_get(int *result, int ordinal) { *result = ordinal; return 0; }
static int device_name(char *name, int length) { strncpy(name, "stub", length); return 0; }
static int attribute(int *value, int which) { *value = which; return 0; }
static int total_memory(size_t *value) { *value = 1000; return 0; }
static int memory_info(size_t *available, size_t *total) { *available = 1; *total = 2; return 0; }
static int allocate(handle *address, size_t nbytes) { *address = (handle)malloc(nbytes); return 0; }
static int allocate_pinned(handle *address, size_t nbytes, unsigned flags)
{ printf("pinned %zu flags %u\n", nbytes, flags); return allocate(address, nbytes); }
static int copy(void *to, const void *source, size_t nbytes, handle stream)
{ printf("copy %zu stream %lx\n", nbytes, stream); memcpy(to, source, nbytes); return 0; }
static int copy_rows(const size_t *c, handle stream)  // CUDA_MEMCPY2D, all of 8 bytes
{ printf("rows from %d %zx every %zu to %d %zx every %zu: %zu of %zu stream %lx\n", (int)c[2], c[4],
         c[6], (int)c[9], c[11], c[13], c[15], c[14], stream); return 0; }
static int new_stream(handle *stream, unsigned flags, int priority)
{ printf("stream flags %u priority %d\n", flags, priority); return give_handle(stream); }
static int new_event(handle *event, unsigned flags)
{ printf("event flags %u\n", flags); return give_handle(event); }
static int elapsed(float *ms) { *ms = 1.5f; return 0; }
static int load_module(handle *module, const char *image)
{ printf("module %s\n", image); return give_handle(module); }
static int get_function(handle *function, handle module, const char *name)
{ (void)module; printf("function %s\n", name); return give_handle(function); }
static int launch(handle f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                  unsigned bz, unsigned shared, handle stream, void **arguments, void **extra)
{
    (void)f;
    printf("launch grid %u %u %u block %u %u %u shared %u stream %lx extra %p arguments %lx %x\n",
           gx, gy, gz, bx, by, bz, shared, stream, (void *)extra, *(uint64_t *)arguments[0],
           *(uint32_t *)arguments[1]);
    return 0;
}
// CUmemAllocationProp: type, handle types, location's type and id. CUmemAccessDesc: location's type
// and id, flags.
static int granularity(size_t *result, const int *properties, int option)
{ printf("granularity for %d %d %d option %d\n", properties[0], properties[2], properties[3], option);
  *result = 2 << 20; return 0; }
static int reserve(handle *result, size_t nbytes, size_t alignment, handle hint, uint64_t flags)
{ printf("reserve %zu alignment %zu hint %lu flags %lu\n", nbytes, alignment, hint, flags);
  *result = 0xab0000000000; return 0; }
static int free_range(handle address, size_t nbytes)
{ printf("free range %lx %zu\n", address, nbytes); return 0; }
static int create(handle *result, size_t nbytes, const int *properties, uint64_t flags)
{ static handle last = 0;
  printf("create %zu for %d %d %d flags %lu\n", nbytes, properties[0], properties[2], properties[3],
         flags);
  *result = 0xfffffff000000001 + last++; return 0; }
static int map(handle address, size_t nbytes, size_t offset, handle memory, uint64_t flags)
{ printf("map %lx %zu offset %zu memory %lx flags %lu\n", address, nbytes, offset, memory, flags);
  return 0; }
static int set_access(handle address, size_t nbytes, const int *access, size_t count)
{ printf("access %lx %zu for %d %d flags %d count %zu\n", address, nbytes, access[0], access[1],
         access[2], count); return 0; }
static int unmap(handle address, size_t nbytes)
{ printf("unmap %lx %zu\n", address, nbytes); return 0; }
static int release(handle memory) { printf("release %lx\n", memory); return 0; }
static int begin_capture(handle stream, int mode)
{ printf("capture stream %lx mode %d\n", stream, mode); return 0; }
static int end_capture(handle stream, handle *graph) { (void)stream; return give_handle(graph); }
static int launch_graph(handle executable, handle stream)
{ printf("replay %lx stream %lx\n", executable, stream); return 0; }

int cuGetProcAddress_v2(const char *name, void **function, int since, uint64_t flags, int *status);

static const struct { const char *name; void *function; } CALLS[] = {
    {"cuGetProcAddress", cuGetProcAddress_v2}, {"cuDriverGetVersion", version},
    {"cuDeviceGet", device_get}, {"cuDeviceGetName", device_name},
    {"cuDeviceGetAttribute", attribute}, {"cuDeviceTotalMem", total_memory},
    {"cuDevicePrimaryCtxRetain", give_handle}, {"cuMemGetInfo", memory_info},
    {"cuMemAlloc", allocate}, {"cuMemHostAlloc", allocate_pinned}, {"cuMemcpyHtoDAsync", copy},
    {"cuMemcpyDtoHAsync", copy}, {"cuMemcpyDtoDAsync", copy},
    {"cuMemcpy2DAsync", copy_rows},
    {"cuStreamCreateWithPriority", new_stream}, {"cuEventCreate", new_event},
    {"cuEventElapsedTime", elapsed}, {"cuModuleLoadData", load_module},
    {"cuModuleGetFunction", get_function}, {"cuLaunchKernel", launch},
    {"cuStreamBeginCapture", begin_capture}, {"cuStreamEndCapture", end_capture},
    {"cuGraphInstantiate", give_handle}, {"cuGraphInstantiateWithFlags", give_handle},
    {"cuGraphLaunch", launch_graph}, {"cuMemGetAllocationGranularity", granularity},
    {"cuMemAddressReserve", reserve}, {"cuMemAddressFree", free_range}, {"cuMemCreate", create},
    {"cuMemMap", map}, {"cuMemSetAccess", set_access}, {"cuMemUnmap", unmap},
    {"cuMemRelease", release},
};

int cuGetProcAddress_v2(const char *name, void **function, int since, uint64_t flags, int *status)
{
    (void)since, (void)flags;
    *function = (void *)zero;
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++)
        if (!strncmp(name, CALLS[i].name, strlen(CALLS[i].name))
            && (!name[strlen(CALLS[i].name)] || name[strlen(CALLS[i].name)] == '_'))
            *function = CALLS[i].function;
    if (status)
        *status = 0;
    return 0;
}
