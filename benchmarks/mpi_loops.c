/* Loops over MPI to compare collbench's with, called by the same ranks in turn (mpi_turns.py). They share no code with
 * it. Both return the time of one call in ns, the same on every rank.
 *
 * plain: the minimal loop of the kind that collbench has. Ranks begin at a time announced by rank 0 (one host), samples
 *   are from the first rank's begin to the last one's end; the result is their median.
 * average: the loop of the OSU micro-benchmarks, from reading osu_latency.c and osu_allreduce.c of version 7.4: calls
 *   follow one another (ping-pong) or a barrier each (collectives); the result is the mean over calls and timed ranks.
 */
#include <mpi.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MOST 2000
#define LEAST 7
#define WARM_UP 3
static int rank, size;
static MPI_Comm timed, control;

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void use(MPI_Fint timed_comm, MPI_Fint control_comm)
{
    timed = MPI_Comm_f2c(timed_comm);
    control = MPI_Comm_f2c(control_comm);
    MPI_Comm_rank(timed, &rank);
    MPI_Comm_size(timed, &size);
}

/* `op`: p(ing_pong), r(educe) for all_reduce, a(ll_to_all). */
static void call(int op, char *send, char *recv, int bytes)
{
    int peer = (rank + size / 2) % size;
    switch (op) {
    case 'p':
        if (rank < size / 2) {
            MPI_Send(send, bytes / 4, MPI_FLOAT, peer, 0, timed);
            MPI_Recv(recv, bytes / 4, MPI_FLOAT, peer, 0, timed, MPI_STATUS_IGNORE);
        } else {
            MPI_Recv(recv, bytes / 4, MPI_FLOAT, peer, 0, timed, MPI_STATUS_IGNORE);
            MPI_Send(send, bytes / 4, MPI_FLOAT, peer, 0, timed);
        }
        break;
    case 'r':
        MPI_Allreduce(send, recv, bytes / 4, MPI_FLOAT, MPI_SUM, timed);
        break;
    case 'a':
        MPI_Alltoall(send, bytes / 4 / size, MPI_FLOAT, recv, bytes / 4 / size, MPI_FLOAT, timed);
        break;
    }
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double sampled(int op, int bytes, int calls, int slots, double seconds, char *memory, size_t half, size_t stride)
{
    static int64_t spans[MOST];
    int n = 0, own = op == 'p' ? size / 2 : size;
    int64_t deadline = now() + (int64_t)(seconds * 1e9), go_on = 1;
    for (int sample = 0; go_on; sample++) {
        if (slots == 1)
            call(op, memory, memory + half, bytes);
        else
            memset(memory, sample, stride * calls);
        int64_t start = now() + 60000, ends[2], latest[2];
        MPI_Bcast(&start, 1, MPI_INT64_T, 0, control);
        int64_t begin;
        do
            begin = now();
        while (begin < start);
        if (slots == 1)
            for (int i = 0; i < calls; i++)
                call(op, memory, memory + half, bytes);
        else
            for (int i = 0; i < calls; i++)
                call(op, memory + i * stride, memory + i * stride + half, bytes);
        ends[0] = rank < own ? now() : 0;
        ends[1] = begin - start;
        MPI_Allreduce(ends, latest, 2, MPI_INT64_T, MPI_MAX, control);
        if (sample >= WARM_UP && latest[1] < 1000)
            spans[n++] = latest[0] - start;
        go_on = n < MOST && (n < LEAST || now() < deadline);
        MPI_Bcast(&go_on, 1, MPI_INT64_T, 0, control);
    }
    qsort(spans, n, sizeof *spans, by_value);
    return (double)spans[n / 2] / calls / (op == 'p' ? 2 : 1);
}

/* `slots`: 1 for warm caches (the call before a sample is the same one, and nothing touches the buffers after it), else
 * as many as calls, which all are written before a sample. Buffers are as collbench's: anonymous pages, touched first.
 */
double plain(int op, int bytes, int calls, int slots, double seconds)
{
    size_t half = ((size_t)bytes + 63) / 64 * 64, stride = 2 * half;
    char *memory = mmap(NULL, stride * slots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -1;
    memset(memory, 1, stride * slots);
    double ns = sampled(op, bytes, calls, slots, seconds, memory, half, stride);
    munmap(memory, stride * slots);
    return ns;
}

/* Buffers of `room` bytes, the largest message, are allocated for each call as OSU does once for all sizes. */
double average(int op, int bytes, int iterations, int skip, size_t room)
{
    void *send, *recv;
    if (posix_memalign(&send, sysconf(_SC_PAGESIZE), room) || posix_memalign(&recv, sysconf(_SC_PAGESIZE), room))
        return -1;
    memset(send, 1, room);
    memset(recv, 0, room);
    int64_t total = 0;
    int own = op == 'p' ? size / 2 : size;
    MPI_Barrier(timed);
    for (int i = 0; i < iterations + skip; i++) {
        int64_t begin = now();
        call(op, send, recv, bytes);
        int64_t end = now();
        if (op != 'p')
            MPI_Barrier(timed);
        if (i >= skip)
            total += end - begin;
    }
    double mine = rank < own ? (double)total / iterations : 0, sum;
    MPI_Allreduce(&mine, &sum, 1, MPI_DOUBLE, MPI_SUM, control);
    free(send);
    free(recv);
    return sum / own / (op == 'p' ? 2 : 1);
}
