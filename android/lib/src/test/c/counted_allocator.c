/* The bridge's allocations, counted, and refused where a test wants it: rbe.edge.Allocations. The linker puts these in the place of the
 * allocator's (--wrap) in the bridge alone. */
#include <jni.h>
#include <stdatomic.h>
#include <stdlib.h>

#define EXPORTED __attribute__((visibility("default")))

static atomic_llong live, made, refused; /* refused: the number, as of `made`, of the one to refuse; 0: none */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void __real_free(void *memory);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void __wrap_free(void *memory);

static int is_refused(void)
{
    return atomic_fetch_add(&made, 1) + 1 == atomic_load(&refused);
}

static void *counted(void *memory)
{
    atomic_fetch_add(&live, memory != NULL);
    return memory;
}

void *__wrap_malloc(size_t bytes)
{
    return is_refused() ? NULL : counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return is_refused() ? NULL : counted(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    if (is_refused()) {
        return NULL;
    }
    void *moved = __real_realloc(memory, bytes);
    return memory ? moved : counted(moved);
}

void __wrap_free(void *memory)
{
    atomic_fetch_sub(&live, memory != NULL);
    __real_free(memory);
}

EXPORTED JNIEXPORT jlong JNICALL Java_rbe_edge_Allocations_live(JNIEnv *env, jclass class)
{
    (void)env;
    (void)class;
    return atomic_load(&live);
}

EXPORTED JNIEXPORT jlong JNICALL Java_rbe_edge_Allocations_made(JNIEnv *env, jclass class)
{
    (void)env;
    (void)class;
    return atomic_load(&made);
}

EXPORTED JNIEXPORT void JNICALL Java_rbe_edge_Allocations_refuse(JNIEnv *env, jclass class, jlong n)
{
    (void)env;
    (void)class;
    atomic_store(&refused, n ? atomic_load(&made) + n : 0);
}
