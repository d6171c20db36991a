/* The minimal timing loop over MPI, a reference for the overhead of collbench. Shares no code with it, but allocates
 * buffers (anonymous pages, first touched, one slot per call) and starts ranks (at a time announced by rank 0; one host)
 * in the same way.
 *
 *   mpirun -n 2 mpi_loop SECONDS OP BYTES CALLS SLOTS [OP BYTES CALLS SLOTS ...]
 *
 * With one slot, the caches are warm: the call before a sample is the same one, and nothing touches the buffers after it.
 * With CALLS slots each call of a sample has its own, and all are written before a sample. Prints a line `OP BYTES isolated_us streamed_us` for each: medians over samples of the time from the first rank's
 * start to the last one's end, for one call, and for one of CALLS calls back to back.
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MOST 2000
#define LEAST 7
#define WARM_UP 3
static int rank, size;

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void call(int op, char *send, char *recv, int bytes)
{
    int peer = (rank + size / 2) % size;
    switch (op) {
    case 'p':
        if (rank < size / 2) {
            MPI_Send(send, bytes / 4, MPI_FLOAT, peer, 0, MPI_COMM_WORLD);
            MPI_Recv(recv, bytes / 4, MPI_FLOAT, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Recv(recv, bytes / 4, MPI_FLOAT, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Send(send, bytes / 4, MPI_FLOAT, peer, 0, MPI_COMM_WORLD);
        }
        break;
    case 'r':
        MPI_Allreduce(send, recv, bytes / 4, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        break;
    case 'a':
        MPI_Alltoall(send, bytes / 4 / size, MPI_FLOAT, recv, bytes / 4 / size, MPI_FLOAT, MPI_COMM_WORLD);
        break;
    }
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Median in ns of one call, over as many samples as fit into `seconds`. */
static double measure(int op, int bytes, int calls, int slots, double seconds, char *memory, size_t half, size_t stride)
{
    static int64_t spans[MOST];
    int n = 0, timed = op == 'p' ? size / 2 : size;
    int64_t deadline = now() + (int64_t)(seconds * 1e9), go_on = 1;
    for (int sample = 0; go_on; sample++) {
        if (slots == 1)
            call(op, memory, memory + half, bytes);
        else
            memset(memory, sample, stride * calls);
        int64_t start = now() + 60000, ends[2], latest[2];
        MPI_Bcast(&start, 1, MPI_INT64_T, 0, MPI_COMM_WORLD);
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
        ends[0] = rank < timed ? now() : 0;
        ends[1] = begin - start;
        MPI_Allreduce(ends, latest, 2, MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD);
        if (sample >= WARM_UP && latest[1] < 1000)
            spans[n++] = latest[0] - start;
        go_on = n < MOST && (n < LEAST || now() < deadline);
        MPI_Bcast(&go_on, 1, MPI_INT64_T, 0, MPI_COMM_WORLD);
    }
    qsort(spans, n, sizeof *spans, by_value);
    return (double)spans[n / 2] / calls / (op == 'p' ? 2 : 1);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int i = 2; i + 3 < argc; i += 4) {
        int bytes = atoi(argv[i + 1]), calls = atoi(argv[i + 2]), slots = atoi(argv[i + 3]);
        size_t half = ((size_t)bytes + 63) / 64 * 64, stride = half + ((size_t)bytes + 63) / 64 * 64;
        char *memory = mmap(NULL, stride * slots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            MPI_Abort(MPI_COMM_WORLD, 1);
        memset(memory, 1, stride * slots);
        double isolated = measure(argv[i][0], bytes, 1, 1, atof(argv[1]), memory, half, stride);
        double streamed = measure(argv[i][0], bytes, calls, slots, atof(argv[1]), memory, half, stride);
        munmap(memory, stride * slots);
        if (rank == 0)
            printf("%s %d %.4f %.4f\n", argv[i], bytes, isolated / 1e3, streamed / 1e3);
    }
    MPI_Finalize();
    return 0;
}
