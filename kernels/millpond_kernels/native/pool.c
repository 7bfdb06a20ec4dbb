/* Threads that help the one that calls: they wait, and take parts of its work when there is some.
 *
 * Parts are taken one after the other by whoever is free, the caller among them: a helper that sleeps, or that the
 * machine keeps from running, costs no more than the part it holds. What computes a part, and so its bits, is the same
 * whoever takes it. There is one job at a time; whoever comes meanwhile works alone.
 */

#include "pool.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

enum {
    LEFT = 16, /* bits of a ticket that hold how many parts of the job are left to take */
    MOST_PARTS = 1 << 15,
    PATIENCE = 100000, /* nanoseconds that a helper looks for work before it sleeps: ops follow one another */
    LOOKS = 64,        /* at the ticket, between looks at the clock */
    YIELD_AFTER = 4096, /* looks at what others still do */
};

static struct {
    /* The number of the job, and below it how many parts of it are left to take. What describes the job is written only
     * while none is left and all are done. Who takes a part of the ticket that he saw thus read it right. */
    _Atomic uint64_t ticket;
    _Atomic(part) work;
    _Atomic(const void *) job;
    _Atomic int64_t count, parts, threads, done;
    atomic_bool taken; /* by a caller */
    int64_t helpers;   /* that were started; belongs to the caller */
    atomic_int sleeping;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static uint64_t next_job(uint64_t ticket) { return (ticket >> LEFT) + 1; }

/* Takes parts and does them until none is left. */
static void help(int64_t thread) {
    for (;;) {
        uint64_t ticket = atomic_load(&pool.ticket);
        const int64_t left = (int64_t)(ticket & ((UINT64_C(1) << LEFT) - 1));
        const part work = atomic_load(&pool.work);
        const void *job = atomic_load(&pool.job);
        const int64_t count = atomic_load(&pool.count), parts = atomic_load(&pool.parts);
        if (left == 0 || thread >= atomic_load(&pool.threads)) return;
        if (!atomic_compare_exchange_strong(&pool.ticket, &ticket, ticket - 1)) continue;
        const int64_t number = parts - left;
        work(job, count * number / parts, count * (number + 1) / parts, thread);
        atomic_fetch_add(&pool.done, 1);
    }
}

/* Waits for a job after that of the ticket; returns the ticket it found. */
static uint64_t await(uint64_t ticket) {
    const uint64_t job = ticket >> LEFT;
    const int64_t end = nanoseconds() + PATIENCE;
    do {
        for (int look = 0; look < LOOKS; look++) {
            if ((ticket = atomic_load(&pool.ticket)) >> LEFT != job) return ticket;
            _mm_pause();
        }
    } while (nanoseconds() < end);
    pthread_mutex_lock(&pool.mutex);
    atomic_fetch_add(&pool.sleeping, 1);
    while ((ticket = atomic_load(&pool.ticket)) >> LEFT == job) pthread_cond_wait(&pool.wake, &pool.mutex);
    atomic_fetch_sub(&pool.sleeping, 1);
    pthread_mutex_unlock(&pool.mutex);
    return ticket;
}

static void *serve(void *thread) {
    uint64_t ticket = 0;
    for (;;) {
        ticket = await(ticket);
        help((int64_t)(intptr_t)thread);
    }
    return NULL;
}

/* A fork has this memory and none of the threads. */
static void forget(void) {
    atomic_store(&pool.ticket, next_job(atomic_load(&pool.ticket)) << LEFT); /* with none left */
    atomic_store(&pool.taken, false);
    atomic_store(&pool.sleeping, 0);
    pool.helpers = 0;
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.wake, NULL);
}

__attribute__((constructor)) static void prepare(void) { pthread_atfork(NULL, NULL, forget); }

/* Starts helpers up to that number; fewer where the system gives no more. No signal is handled on them. */
static void start_helpers(int64_t wanted) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.helpers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)(pool.helpers + 1)) != 0) break;
        pthread_detach(thread);
        pool.helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void millpond_in_parts(part work, const void *job, int64_t count, int64_t size, int64_t threads) {
    int64_t parts = (count + size - 1) / size;
    if (parts > MOST_PARTS) parts = MOST_PARTS;
    if (threads > parts) threads = parts;
    if (threads <= 1 || atomic_exchange(&pool.taken, true)) {
        work(job, 0, count, 0);
        return;
    }
    if (pool.helpers < threads - 1) start_helpers(threads - 1);
    atomic_store(&pool.work, work);
    atomic_store(&pool.job, job);
    atomic_store(&pool.count, count);
    atomic_store(&pool.parts, parts);
    atomic_store(&pool.threads, threads);
    atomic_store(&pool.done, 0);
    atomic_store(&pool.ticket, next_job(atomic_load(&pool.ticket)) << LEFT | (uint64_t)parts);
    if (atomic_load(&pool.sleeping) > 0) {
        pthread_mutex_lock(&pool.mutex);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.mutex);
    }
    help(0);
    for (int64_t look = 0; atomic_load(&pool.done) < parts; look++) {
        if (look < YIELD_AFTER)
            _mm_pause();
        else
            sched_yield();
    }
    atomic_store(&pool.taken, false);
}
