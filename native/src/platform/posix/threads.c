#include "platform/threads.h"

#include <pthread.h>
#include <stdlib.h>

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

rbe__condition *rbe__condition_create(void)
{
    rbe__condition *condition = malloc(sizeof *condition);
    if (condition) {
        pthread_cond_init(&condition->condition, NULL);
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

void rbe__condition_signal(rbe__condition *condition)
{
    pthread_cond_signal(&condition->condition);
}

void rbe__condition_broadcast(rbe__condition *condition)
{
    pthread_cond_broadcast(&condition->condition);
}
