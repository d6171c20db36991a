/* The loop of timing.py for MPI, compiled: fill or call, start together, read the clock, call, read the clock, compare.
 * No interpreter runs between samples either: it would leave the caches and the branch predictor cold. Handles come
 * from mpi4py as Fortran integers, buffers as addresses; nothing is allocated, parsed or looked up in the timed region.
 *
 * Buffers on a device are filled and compared by their owner: for them collbench_run is called once a sample.
 */
#include <math.h>
#include <mpi.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Kinds of calls and of starts are listed once; Python takes their numbers from the names. */
#define KINDS(X) X(NOOP) X(BARRIER) X(ALL_REDUCE) X(ALL_GATHER) X(REDUCE_SCATTER) X(BROADCAST) X(REDUCE) X(GATHER) \
    X(SCATTER) X(ALL_TO_ALL) X(ALL_TO_ALL_V) X(SEND_RECV) X(PING) X(PONG) X(WINDOW_FIRST) X(WINDOW_SECOND) \
    X(PERSISTENT)
#define STARTS(X) X(START_NONE) X(START_BARRIER) X(START_AGREED) X(START_MET)
#define ENUMERATOR(name) name,
#define TEXT(name) #name " "

enum kind { KINDS(ENUMERATOR) };
enum start { STARTS(ENUMERATOR) };

const char *collbench_kinds(void)
{
    return KINDS(TEXT);
}

const char *collbench_starts(void)
{
    return STARTS(TEXT);
}

typedef struct {
    int kind;
    MPI_Comm comm;
    MPI_Datatype type;
    MPI_Op op;
    void *send, *recv;
    int send_count, recv_count;         /* elements, in the sense of the call */
    const int *send_counts, *send_at, *recv_counts, *recv_at;
    int peer, other;                    /* destination and source, or root */
    MPI_Request started;                /* a persistent collective */
    int sends, receives, depth;         /* of a window: messages each way, and buffers that they share in turn */
    size_t message_bytes;
    MPI_Request *requests;
} call_t;

/* interfaces.Pattern: pieces of equal length, each repeating its tile. */
typedef struct { const char *tiles; size_t pieces, tile_bytes, piece_bytes; } pattern_t;

typedef struct {
    /* Same as verify.Inspector: two patterns, alternating over samples and slots. */
    char *memory;
    size_t stride, send_at, send_bytes, recv_at, recv_bytes;
    pattern_t sent[2], expected[2];
    int poison;
    /* Same as alignment.py, on the control communicator, with this rank's model of rank 0's clock. */
    int start, rank;
    MPI_Comm control;
    double epoch, offset, drift;
    int64_t lead_ns;
    int answers;                        /* does not wait for the start */
    /* The warm state of caches.py; `warm` is 0 where buffers are filled before each sample. */
    int warm, restores;
    int64_t turn, first;
    size_t exposed_at, exposed_bytes;
    int calls, slots;                   /* calls of a sample take the slots in turn */
    call_t call[];
} block_t;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int window(const call_t *c, int first)
{
    int n = 0, error = MPI_SUCCESS;
    for (int i = 0; i < c->receives && !error; i++)
        error = MPI_Irecv((char *)c->recv + (i % c->depth) * c->message_bytes, c->recv_count, c->type, c->peer, 0,
                          c->comm, &c->requests[n++]);
    for (int i = 0; i < c->sends && !error; i++)
        error = MPI_Isend((char *)c->send + (i % c->depth) * c->message_bytes, c->send_count, c->type, c->peer, 0,
                          c->comm, &c->requests[n++]);
    if (!error)
        error = MPI_Waitall(n, c->requests, MPI_STATUSES_IGNORE);
    if (error)
        return error;
    return first ? MPI_Recv(NULL, 0, MPI_BYTE, c->peer, 1, c->comm, MPI_STATUS_IGNORE)
                 : MPI_Send(NULL, 0, MPI_BYTE, c->peer, 1, c->comm);
}

static inline int make(call_t *c)
{
    int error;
    switch (c->kind) {
    case NOOP:
        return MPI_SUCCESS;
    case BARRIER:
        return MPI_Barrier(c->comm);
    case ALL_REDUCE:
        return MPI_Allreduce(c->send, c->recv, c->recv_count, c->type, c->op, c->comm);
    case ALL_GATHER:
        return MPI_Allgather(c->send, c->send_count, c->type, c->recv, c->recv_count, c->type, c->comm);
    case REDUCE_SCATTER:
        return MPI_Reduce_scatter_block(c->send, c->recv, c->recv_count, c->type, c->op, c->comm);
    case BROADCAST:
        return MPI_Bcast(c->recv, c->recv_count, c->type, c->other, c->comm);
    case REDUCE:
        return MPI_Reduce(c->send, c->recv, c->send_count, c->type, c->op, c->other, c->comm);
    case GATHER:
        return MPI_Gather(c->send, c->send_count, c->type, c->recv, c->recv_count, c->type, c->other, c->comm);
    case SCATTER:
        return MPI_Scatter(c->send, c->send_count, c->type, c->recv, c->recv_count, c->type, c->other, c->comm);
    case ALL_TO_ALL:
        return MPI_Alltoall(c->send, c->send_count, c->type, c->recv, c->recv_count, c->type, c->comm);
    case ALL_TO_ALL_V:
        return MPI_Alltoallv(c->send, c->send_counts, c->send_at, c->type, c->recv, c->recv_counts, c->recv_at, c->type,
                             c->comm);
    case SEND_RECV:
        return MPI_Sendrecv(c->send, c->send_count, c->type, c->peer, 0, c->recv, c->recv_count, c->type, c->other, 0,
                            c->comm, MPI_STATUS_IGNORE);
    case PING:
        error = MPI_Send(c->send, c->send_count, c->type, c->peer, 0, c->comm);
        return error ? error : MPI_Recv(c->recv, c->recv_count, c->type, c->peer, 0, c->comm, MPI_STATUS_IGNORE);
    case PONG:
        error = MPI_Recv(c->recv, c->recv_count, c->type, c->peer, 0, c->comm, MPI_STATUS_IGNORE);
        return error ? error : MPI_Send(c->send, c->send_count, c->type, c->peer, 0, c->comm);
    case WINDOW_FIRST:
        return window(c, 1);
    case WINDOW_SECOND:
        return window(c, 0);
    case PERSISTENT:
        error = MPI_Start(&c->started);
        return error ? error : MPI_Wait(&c->started, MPI_STATUS_IGNORE);
    }
    return MPI_ERR_OTHER;
}

/* Allocate a table of a call for each of `slots` slots, each to be made `repeats` times; NULL if there is no memory. */
block_t *collbench_new(int slots, int repeats)
{
    block_t *block = calloc(1, sizeof *block + (size_t)slots * sizeof block->call[0]);
    if (block) {
        block->slots = slots;
        block->calls = slots * repeats;
    }
    return block;
}

void collbench_free(block_t *block)
{
    for (int i = 0; i < block->slots; i++)
        free(block->call[i].requests);
    free(block);
}

/* Fill in the call on slot `i`. `in_place`: 1 passes MPI_IN_PLACE as the send buffer, 2 as the receive buffer. */
int collbench_set(block_t *block, int i, int kind, int in_place, MPI_Fint comm, MPI_Fint type, MPI_Fint op, void *send,
                  int send_count, void *recv, int recv_count, int peer, int other)
{
    call_t *c = &block->call[i];
    c->kind = kind;
    c->comm = MPI_Comm_f2c(comm);
    c->type = MPI_Type_f2c(type);
    c->op = MPI_Op_f2c(op);
    c->send = in_place == 1 ? MPI_IN_PLACE : send;
    c->recv = in_place == 2 ? MPI_IN_PLACE : recv;
    c->send_count = send_count;
    c->recv_count = recv_count;
    c->peer = peer;
    c->other = other;
    return MPI_SUCCESS;
}

void collbench_set_vectors(block_t *block, int i, const int *send_counts, const int *send_at, const int *recv_counts,
                           const int *recv_at)
{
    call_t *c = &block->call[i];
    c->send_counts = send_counts;
    c->send_at = send_at;
    c->recv_counts = recv_counts;
    c->recv_at = recv_at;
}

int collbench_set_window(block_t *block, int i, int sends, int receives, int depth, size_t message_bytes)
{
    call_t *c = &block->call[i];
    c->sends = sends;
    c->receives = receives;
    c->depth = depth;
    c->message_bytes = message_bytes;
    c->requests = malloc((size_t)(sends + receives) * sizeof *c->requests);
    return c->requests ? MPI_SUCCESS : MPI_ERR_NO_MEM;
}

void collbench_set_started(block_t *block, int i, MPI_Fint request)
{
    block->call[i].kind = PERSISTENT;
    block->call[i].started = MPI_Request_f2c(request);
}

/* Make the first `calls` calls of a sample. Not a loop over slots inside one over repeats: most samples have one slot,
 * and the inner loop would cost more than the comparison here.
 */
static inline int make_calls(block_t *block, int calls)
{
    int error = MPI_SUCCESS;
    for (int i = 0, slot = 0; i < calls && !error; i++, slot = slot + 1 < block->slots ? slot + 1 : 0)
        error = make(&block->call[slot]);
    return error;
}

int collbench_make(block_t *block, int calls)
{
    return make_calls(block, calls);
}

/* Spin until the clock shows start_ns, then make all calls; clock readings before and after go to `readings`. */
int collbench_run(block_t *block, int64_t start_ns, int64_t readings[2])
{
    int64_t begin;
    do
        begin = now_ns();
    while (begin < start_ns);
    int error = make_calls(block, block->calls);
    readings[1] = now_ns();
    readings[0] = begin;
    return error;
}

/* The slots, and the send and receive buffers in a slot. */
void collbench_set_buffers(block_t *block, char *memory, size_t stride, int poison, size_t send_at, size_t send_bytes,
                           size_t recv_at, size_t recv_bytes)
{
    block->memory = memory;
    block->stride = stride;
    block->poison = poison;
    block->send_at = send_at;
    block->send_bytes = send_bytes;
    block->recv_at = recv_at;
    block->recv_bytes = recv_bytes;
}

/* The pattern to send (`expected` 0) or to expect (1), in even or odd turns. */
void collbench_set_pattern(block_t *block, int expected, int odd, const char *tiles, size_t pieces, size_t tile_bytes,
                           size_t piece_bytes)
{
    pattern_t pattern = {tiles, pieces, tile_bytes, piece_bytes};
    *(expected ? &block->expected[odd] : &block->sent[odd]) = pattern;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void put(char *at, const pattern_t *p)
{
    for (size_t piece = 0; piece < p->pieces; piece++)
        for (size_t left = p->piece_bytes, part; left; left -= part, at += part) {
            part = smaller(left, p->tile_bytes);
            memcpy(at, p->tiles + piece * p->tile_bytes, part);
        }
}

static int holds(const char *at, const pattern_t *p)
{
    for (size_t piece = 0; piece < p->pieces; piece++)
        for (size_t left = p->piece_bytes, part; left; left -= part, at += part) {
            part = smaller(left, p->tile_bytes);
            if (memcmp(at, p->tiles + piece * p->tile_bytes, part))
                return 0;
        }
    return 1;
}

void collbench_set_start(block_t *block, int start, MPI_Fint control, int64_t lead_ns, double epoch, double offset,
                         double drift, int answers)
{
    block->answers = answers;
    block->start = start;
    block->control = MPI_Comm_f2c(control);
    MPI_Comm_rank(block->control, &block->rank);
    block->lead_ns = lead_ns;
    block->epoch = epoch;
    block->offset = offset;
    block->drift = drift;
}

/* How the caches are before a sample (see caches.py): `warm` 0 fills all buffers; 1 makes the call before. */
void collbench_set_warm(block_t *block, int warm, int64_t turn, int64_t first, int restores, size_t exposed_at,
                        size_t exposed_bytes)
{
    block->warm = warm;
    block->turn = turn;
    block->first = first;
    block->restores = restores;
    block->exposed_at = exposed_at;
    block->exposed_bytes = exposed_bytes;
}

/* Overlapping outputs are poisoned before the inputs are written. Separate ones are poisoned afterwards, so that the
 * output buffer is as warm as the input, as in an application.
 */
static void refill(block_t *block, int64_t sample)
{
    int apart = block->recv_at >= block->send_at + block->send_bytes;
    for (int slot = 0; slot < block->slots; slot++) {
        char *at = block->memory + slot * block->stride;
        if (!apart)
            memset(at + block->recv_at, block->poison, block->recv_bytes);
        put(at + block->send_at, &block->sent[(sample + slot) & 1]);
        if (apart)
            memset(at + block->recv_at, block->poison, block->recv_bytes);
    }
}

/* Same as caches.mixed: a number that looks random, so that no period in the calls goes unchecked. */
static uint64_t mixed(int64_t sample)
{
    uint64_t x = (uint64_t)sample * 0x9E3779B97F4A7C15u;
    return x ^ x >> 29;
}

/* Make the call once, now and then twice, so that the buffers are as it leaves them. Then overwrite a word of the output,
 * which tells whether the timed call writes.
 */
static int condition(block_t *block, int64_t sample)
{
    uint64_t chance = mixed(sample);
    int error = MPI_SUCCESS;
    if (sample != block->first) {
        error = make_calls(block, 1);
        if (!error && chance % 4 == 0)
            error = make_calls(block, 1);
    }
    if (block->restores)
        put(block->memory + block->send_at, &block->sent[block->turn & 1]);
    if (block->exposed_bytes) {
        size_t length = smaller(block->exposed_bytes, sizeof chance);
        size_t at = (chance >> 8) % (block->exposed_bytes / length) * length;
        memset(block->memory + block->exposed_at + at, block->poison, length);
    }
    return error;
}

static int right(const block_t *block, int64_t sample)
{
    for (int slot = 0; slot < block->slots && block->recv_bytes; slot++)
        if (!holds(block->memory + slot * block->stride + block->recv_at, &block->expected[(sample + slot) & 1]))
            return 0;
    return 1;
}

/* Synchronise with the other ranks; sets when to begin on this rank's clock, 0 for at once. */
static int start_together(const block_t *block, int64_t *start_ns)
{
    *start_ns = 0;
    if (block->start == START_NONE)
        return MPI_SUCCESS;
    if (block->start == START_BARRIER || block->start == START_MET) {
        int error = MPI_Barrier(block->control);
        if (error || block->start == START_BARRIER)
            return error;
    }
    int64_t moment = now_ns();
    moment += llround(block->offset + block->drift * (moment - block->epoch)) + block->lead_ns;
    int error = MPI_Bcast(&moment, 1, MPI_INT64_T, 0, block->control);
    double since = moment - block->offset - block->epoch;
    *start_ns = moment - llround(block->offset + since * block->drift / (1 + block->drift));
    return error;
}

/* Take up to `count` samples, numbered from `first`. Stops after a sample with a wrong result, which is then still in
 * the buffers, and sets `wrong`. Returns the number of samples taken, or minus MPI's error code.
 */
int64_t collbench_samples(block_t *block, int64_t first, int64_t count, int64_t *begin_ns, int64_t *elapsed_ns,
                          int64_t *late_ns, int *wrong)
{
    *wrong = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t start_ns, readings[2], turn = block->warm ? block->turn : first + i;
        int error = MPI_SUCCESS;
        if (block->warm)
            error = condition(block, first + i);
        else
            refill(block, turn);
        if (!error)
            error = start_together(block, &start_ns);
        if (block->answers)
            start_ns = 0;
        if (!error)
            error = collbench_run(block, start_ns, readings);
        if (error)
            return -error;
        begin_ns[i] = readings[0];
        elapsed_ns[i] = readings[1] - readings[0];
        late_ns[i] = start_ns ? readings[0] - start_ns : 0;
        if (!right(block, turn)) {
            *wrong = 1;
            return i + 1;
        }
    }
    return count;
}

/* The MPI library that this file is linked with, to be compared with the one that mpi4py uses. */
int collbench_library(char *name)
{
    int length = 0;
    return MPI_Get_library_version(name, &length) ? 0 : length;
}

int collbench_library_room(void)
{
    return MPI_MAX_LIBRARY_VERSION_STRING;
}
