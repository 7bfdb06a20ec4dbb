/* Worker threads that process parts of a job together with the calling thread.
 *
 * The workers and the caller take parts one by one, so a worker that sleeps or is not scheduled delays at most one
 * part. A part is computed by the same code on each thread, so its bits do not depend on the thread. Only one job runs
 * at a time; a concurrent caller processes its job alone.
 */

#include "pool.h"
#include "system.h"

#include <stdatomic.h>

enum {
    PARTS_BITS = 16, /* bits of a ticket that contain the number of parts left */
    MAX_PARTS = 1 << 15,
    SPIN_NS = 100000,            /* a worker polls for this time before it sleeps: ops follow one another closely */
    POLLS_PER_CLOCK_CHECK = 64,  /* of the ticket */
    POLLS_BEFORE_YIELD = 4096,   /* of the number of parts that other threads have done */
};

static struct {
    /* The number of the job, then the number of its parts that are left. The other fields of a job are written only
     * while no part is left and all are done, so a thread whose compare-and-swap succeeds read consistent fields. */
    _Atomic uint64_t ticket;
    _Atomic(part) work;
    _Atomic(const void *) job;
    _Atomic int64_t count, parts, threads, done;
    atomic_bool busy; /* true while a caller runs a job */
    int64_t workers;  /* started threads; written by the caller that set `busy` */
    atomic_int sleeping;
    mutex mutex;
    condition wake;
} pool = {.mutex = MUTEX_INITIALIZER, .wake = CONDITION_INITIALIZER};

static uint64_t next_job(uint64_t ticket) { return (ticket >> PARTS_BITS) + 1; }

/* Take and process parts until none is left. */
static void run_parts(int64_t thread) {
    for (;;) {
        uint64_t ticket = atomic_load(&pool.ticket);
        const int64_t left = (int64_t)(ticket & ((UINT64_C(1) << PARTS_BITS) - 1));
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

/* Wait for a job after that of the ticket; return its ticket. */
static uint64_t wait_for_job(uint64_t ticket) {
    const uint64_t job = ticket >> PARTS_BITS;
    const int64_t end = nanoseconds() + SPIN_NS;
    do {
        for (int poll = 0; poll < POLLS_PER_CLOCK_CHECK; poll++) {
            if ((ticket = atomic_load(&pool.ticket)) >> PARTS_BITS != job) return ticket;
            pause_briefly();
        }
    } while (nanoseconds() < end);
    lock(&pool.mutex);
    atomic_fetch_add(&pool.sleeping, 1);
    while ((ticket = atomic_load(&pool.ticket)) >> PARTS_BITS == job) wait_for(&pool.wake, &pool.mutex);
    atomic_fetch_sub(&pool.sleeping, 1);
    unlock(&pool.mutex);
    return ticket;
}

static THREAD_RESULT worker_loop(void *thread) {
    uint64_t ticket = 0;
    for (;;) {
        ticket = wait_for_job(ticket);
        run_parts((int64_t)(intptr_t)thread);
    }
    return 0;
}

/* A forked process has this memory but not the threads. */
static void reset_after_fork(void) {
    atomic_store(&pool.ticket, next_job(atomic_load(&pool.ticket)) << PARTS_BITS); /* no parts left */
    atomic_store(&pool.busy, false);
    atomic_store(&pool.sleeping, 0);
    pool.workers = 0;
    initialize(&pool.mutex, &pool.wake);
}

__attribute__((constructor)) static void prepare(void) { call_after_fork(reset_after_fork); }

/* Start workers up to `count`, or fewer if the system refuses more. */
static void start_workers(int64_t count) {
    while (pool.workers < count && start_thread(worker_loop, (void *)(intptr_t)(pool.workers + 1))) pool.workers++;
}

void millpond_in_parts(part work, const void *job, int64_t count, int64_t size, int64_t threads) {
    int64_t parts = (count + size - 1) / size;
    if (parts > MAX_PARTS) parts = MAX_PARTS;
    if (threads > parts) threads = parts;
    if (threads <= 1 || atomic_exchange(&pool.busy, true)) {
        work(job, 0, count, 0);
        return;
    }
    if (pool.workers < threads - 1) start_workers(threads - 1);
    atomic_store(&pool.work, work);
    atomic_store(&pool.job, job);
    atomic_store(&pool.count, count);
    atomic_store(&pool.parts, parts);
    atomic_store(&pool.threads, threads);
    atomic_store(&pool.done, 0);
    atomic_store(&pool.ticket, next_job(atomic_load(&pool.ticket)) << PARTS_BITS | (uint64_t)parts);
    if (atomic_load(&pool.sleeping) > 0) {
        lock(&pool.mutex);
        wake_all(&pool.wake);
        unlock(&pool.mutex);
    }
    run_parts(0);
    for (int64_t poll = 0; atomic_load(&pool.done) < parts; poll++) {
        if (poll < POLLS_BEFORE_YIELD)
            pause_briefly();
        else
            yield_processor();
    }
    atomic_store(&pool.busy, false);
}
