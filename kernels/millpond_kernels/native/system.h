/* Threads, locks and the clock of the operating system: Windows, or POSIX. */

#ifndef MILLPOND_SYSTEM_H
#define MILLPOND_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>

/* Let the processor wait for some cycles in a loop that polls. */
static inline void pause_briefly(void) {
#ifdef __aarch64__
    __asm__ volatile("isb"); /* `yield` does nothing on most processors */
#else
    __builtin_ia32_pause();
#endif
}

#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef SRWLOCK mutex;
typedef CONDITION_VARIABLE condition;
#define MUTEX_INITIALIZER SRWLOCK_INIT
#define CONDITION_INITIALIZER CONDITION_VARIABLE_INIT
#define THREAD_RESULT DWORD WINAPI

static inline void lock(mutex *m) { AcquireSRWLockExclusive(m); }
static inline void unlock(mutex *m) { ReleaseSRWLockExclusive(m); }
static inline void wait_for(condition *c, mutex *m) { SleepConditionVariableSRW(c, m, INFINITE, 0); }
static inline void wake_all(condition *c) { WakeAllConditionVariable(c); }
static inline void yield_processor(void) { SwitchToThread(); }

static inline void initialize(mutex *m, condition *c) {
    InitializeSRWLock(m);
    InitializeConditionVariable(c);
}

static inline int64_t nanoseconds(void) {
    LARGE_INTEGER ticks, per_second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&per_second);
    return (int64_t)((double)ticks.QuadPart * 1e9 / (double)per_second.QuadPart);
}

/* Start a thread that is never joined; return false if the system refuses. */
static inline bool start_thread(DWORD(WINAPI *loop)(void *), void *argument) {
    const HANDLE thread = CreateThread(NULL, 0, loop, argument, 0, NULL);
    return thread != NULL && CloseHandle(thread);
}

/* Windows does not fork. */
static inline void call_after_fork(void (*reset)(void)) { (void)reset; }

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

typedef pthread_mutex_t mutex;
typedef pthread_cond_t condition;
#define MUTEX_INITIALIZER PTHREAD_MUTEX_INITIALIZER
#define CONDITION_INITIALIZER PTHREAD_COND_INITIALIZER
#define THREAD_RESULT void *

static inline void lock(mutex *m) { pthread_mutex_lock(m); }
static inline void unlock(mutex *m) { pthread_mutex_unlock(m); }
static inline void wait_for(condition *c, mutex *m) { pthread_cond_wait(c, m); }
static inline void wake_all(condition *c) { pthread_cond_broadcast(c); }
static inline void yield_processor(void) { sched_yield(); }

static inline void initialize(mutex *m, condition *c) {
    pthread_mutex_init(m, NULL);
    pthread_cond_init(c, NULL);
}

static inline int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Start a thread that is never joined, with all signals blocked; return false if the system refuses. */
static inline bool start_thread(void *(*loop)(void *), void *argument) {
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const bool started = pthread_create(&thread, NULL, loop, argument) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) pthread_detach(thread);
    return started;
}

/* Call a function in each new process after a fork. */
static inline void call_after_fork(void (*reset)(void)) { pthread_atfork(NULL, NULL, reset); }

#endif

#endif
