#include "platform/windows/windows.h"

#include <process.h>
#include <stdlib.h>

#include "platform/platform.h"
#include "platform/threads.h"

struct rbe__thread {
    HANDLE handle;
    void (*run)(void *context);
    void *context;
};

struct rbe__mutex {
    SRWLOCK lock;
};

struct rbe__condition {
    CONDITION_VARIABLE variable;
};

static unsigned __stdcall thread_main(void *argument)
{
    const rbe__thread *thread = argument;
    thread->run(thread->context);
    return 0;
}

/* _beginthreadex, not CreateThread: the C library prepares what it keeps for each thread. */
rbe__thread *rbe__thread_start(void (*run)(void *context), void *context)
{
    rbe__thread *thread = malloc(sizeof *thread);
    if (!thread) {
        return NULL;
    }
    thread->run = run;
    thread->context = context;
    thread->handle = (HANDLE)_beginthreadex(NULL, 0, thread_main, thread, 0, NULL);
    if (!thread->handle) {
        free(thread);
        return NULL;
    }
    return thread;
}

void rbe__thread_join(rbe__thread *thread)
{
    WaitForSingleObject(thread->handle, INFINITE);
    CloseHandle(thread->handle);
    free(thread);
}

rbe__mutex *rbe__mutex_create(void)
{
    rbe__mutex *mutex = malloc(sizeof *mutex);
    if (mutex) {
        InitializeSRWLock(&mutex->lock);
    }
    return mutex;
}

void rbe__mutex_free(rbe__mutex *mutex)
{
    free(mutex);
}

void rbe__mutex_lock(rbe__mutex *mutex)
{
    AcquireSRWLockExclusive(&mutex->lock);
}

void rbe__mutex_unlock(rbe__mutex *mutex)
{
    ReleaseSRWLockExclusive(&mutex->lock);
}

rbe__condition *rbe__condition_create(void)
{
    rbe__condition *condition = malloc(sizeof *condition);
    if (condition) {
        InitializeConditionVariable(&condition->variable);
    }
    return condition;
}

void rbe__condition_free(rbe__condition *condition)
{
    free(condition);
}

void rbe__condition_wait(rbe__condition *condition, rbe__mutex *mutex)
{
    (void)SleepConditionVariableSRW(&condition->variable, &mutex->lock, INFINITE, 0);
}

void rbe__condition_wait_until(rbe__condition *condition, rbe__mutex *mutex, uint64_t time_ns)
{
    const uint64_t now = rbe__nanoseconds(), left = now < time_ns ? (time_ns - now) / 1000000 + 1 : 0;
    (void)SleepConditionVariableSRW(&condition->variable, &mutex->lock, left < 60000 ? (DWORD)left : 60000, 0);
}

void rbe__condition_signal(rbe__condition *condition)
{
    WakeConditionVariable(&condition->variable);
}

void rbe__condition_broadcast(rbe__condition *condition)
{
    WakeAllConditionVariable(&condition->variable);
}
