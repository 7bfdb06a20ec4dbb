/* Work that is cut into parts for several threads. */

#ifndef MILLPOND_POOL_H
#define MILLPOND_POOL_H

#include <stdint.h>

/* Does the places from `start` up to `stop` of a job, on the thread of that number. */
typedef void (*part)(const void *job, int64_t start, int64_t stop, int64_t thread);

/* Calls work(job, ...) so that all of 0 ... count is done, about `size` places at a time, on the calling thread and up to
 * threads - 1 others, and returns when it is. `thread` is below `threads`: each may have memory of its own. */
void millpond_in_parts(part work, const void *job, int64_t count, int64_t size, int64_t threads);

/* How many places make a part of at least that cost. */
static inline int64_t part_size(int64_t cost_of_place, int64_t least) { return least / (cost_of_place + 1) + 1; }

#endif
