#include "platform/threads.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "platform/platform.h"

struct rbe__thread {
    pthread_t thread;
    void (*run)(void *context);
    void *context;
};

struct rbe__mutex {
    pthread_mutex_t mutex;
};

struct rbe__condition {
    pthread_cond_t condition;
};

static void *thread_main(void *argument)
{
    const rbe__thread *thread = argument;
    thread->run(thread->context);
    return NULL;
}

rbe__thread *rbe__thread_start(void (*run)(void *context), void *context)
{
    rbe__thread *thread = malloc(sizeof *thread);
    if (!thread) {
        return NULL;
    }
    thread->run = run;
    thread->context = context;
    if (pthread_create(&thread->thread, NULL, thread_main, thread) != 0) {
        free(thread);
        return NULL;
    }
    return thread;
}

void rbe__thread_join(rbe__thread *thread)
{
    pthread_join(thread->thread, NULL);
    free(thread);
}

rbe__mutex *rbe__mutex_create(void)
{
    rbe__mutex *mutex = malloc(sizeof *mutex);
    if (mutex) {
        pthread_mutex_init(&mutex->mutex, NULL);
    }
    return mutex;
}

void rbe__mutex_free(rbe__mutex *mutex)
{
    if (mutex) {
        pthread_mutex_destroy(&mutex->mutex);
        free(mutex);
    }
}

void rbe__mutex_lock(rbe__mutex *mutex)
{
    pthread_mutex_lock(&mutex->mutex);
}

void rbe__mutex_unlock(rbe__mutex *mutex)
{
    pthread_mutex_unlock(&mutex->mutex);
}

/* So that setting the clock moves no end of a wait. macOS has no such attribute. */
static void init_condition(pthread_cond_t *condition)
{
#if defined(__APPLE__)
    pthread_cond_init(condition, NULL);
#else
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
#endif
}

rbe__condition *rbe__condition_create(void)
{
    rbe__condition *condition = malloc(sizeof *condition);
    if (condition) {
        init_condition(&condition->condition);
    }
    return condition;
}

void rbe__condition_free(rbe__condition *condition)
{
    if (condition) {
        pthread_cond_destroy(&condition->condition);
        free(condition);
    }
}

void rbe__condition_wait(rbe__condition *condition, rbe__mutex *mutex)
{
    pthread_cond_wait(&condition->condition, &mutex->mutex);
}

void rbe__condition_wait_until(rbe__condition *condition, rbe__mutex *mutex, uint64_t time_ns)
{
    struct timespec end;
#if defined(__APPLE__)
    const uint64_t now = rbe__nanoseconds();
    clock_gettime(CLOCK_REALTIME, &end);
    const uint64_t time = (uint64_t)end.tv_sec * 1000000000u + (uint64_t)end.tv_nsec + (time_ns > now ? time_ns - now : 0);
#else
    const uint64_t time = time_ns;
#endif
    end.tv_sec = (time_t)(time / 1000000000u);
    end.tv_nsec = (long)(time % 1000000000u);
    pthread_cond_timedwait(&condition->condition, &mutex->mutex, &end);
}

void rbe__condition_signal(rbe__condition *condition)
{
    pthread_cond_signal(&condition->condition);
}

void rbe__condition_broadcast(rbe__condition *condition)
{
    pthread_cond_broadcast(&condition->condition);
}
