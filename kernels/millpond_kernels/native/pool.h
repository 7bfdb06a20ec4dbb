/* A thread pool that runs a job in parts. */

#ifndef MILLPOND_POOL_H
#define MILLPOND_POOL_H

#include <stdint.h>

/* Process the items from `start` to `stop` of a job on a thread. */
typedef void (*part)(const void *job, int64_t start, int64_t stop, int64_t thread);

/* Call work(job, ...) for all items from 0 to count, in parts of about `size` items, on the calling thread and up to
 * threads - 1 others; return when all parts are done. `thread` is at most threads - 1: it can select scratch memory. */
void millpond_in_parts(part work, const void *job, int64_t count, int64_t size, int64_t threads);

/* The number of items in a part that costs at least `min_cost`. */
static inline int64_t part_size(int64_t cost_per_item, int64_t min_cost) { return min_cost / (cost_per_item + 1) + 1; }

#endif
