#ifndef TESTS_COMM_CASE_H
#define TESTS_COMM_CASE_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <diffc/communicator.h>

/* A communicator whose ranks are threads of this process: one mailbox for each direction between two ranks. A
 * rank that leaves closes its mailboxes, and whoever waits for it gets ERR_IO. */

#define CC_RANKS 8

struct cc_box {
    const void *data; /* of the sender, who waits until it is taken; NULL: none */
    size_t bytes;
};

struct cc_world {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct cc_box box[CC_RANKS][CC_RANKS]; /* [from][to] */
    int gone[CC_RANKS];
    int size, exchanges[CC_RANKS];
    int leave_rank, leave_at; /* this rank is lost at its exchange of that number; -1: nobody */
};

struct cc_rank {
    struct cc_world *world;
    int rank;
    diffc_communicator communicator;
};

static inline void cc_open(struct cc_world *world, int size)
{
    memset(world, 0, sizeof(*world));
    pthread_mutex_init(&world->mutex, NULL);
    pthread_cond_init(&world->changed, NULL);
    world->size = size;
    world->leave_rank = -1;
}

static inline void cc_close(struct cc_world *world)
{
    pthread_mutex_destroy(&world->mutex);
    pthread_cond_destroy(&world->changed);
}

static inline void cc_leave(struct cc_world *world, int rank)
{
    pthread_mutex_lock(&world->mutex);
    world->gone[rank] = 1;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->mutex);
}

/* Under the mutex: takes what has come, and waits for what is to come and for the peer to take what was sent.
 */
static inline int cc_wait(struct cc_world *world, int rank, int peer, void *receive, size_t bytes)
{
    struct cc_box *in = &world->box[peer][rank], *out = &world->box[rank][peer];
    int missing = bytes > 0;
    for (;;) {
        if (missing && in->data) {
            if (in->bytes != bytes)
                return diffc_fail(DIFFC_ERR_STATE, "the two sides of an exchange differ");
            memcpy(receive, in->data, bytes);
            in->data = NULL;
            missing = 0;
            pthread_cond_broadcast(&world->changed);
        }
        if (!missing && !out->data)
            return 0;
        if (world->gone[peer]) {
            out->data = NULL;
            return diffc_fail(DIFFC_ERR_IO, "it is gone");
        }
        pthread_cond_wait(&world->changed, &world->mutex);
    }
}

static inline int cc_exchange(void *opaque, int peer, const void *send, size_t send_bytes, void *receive,
                              size_t receive_bytes)
{
    const struct cc_rank *own = opaque;
    struct cc_world *world = own->world;
    int status = DIFFC_ERR_IO;
    if (send_bytes > DIFFC_EXCHANGE_BYTES || receive_bytes > DIFFC_EXCHANGE_BYTES || peer < 0 ||
        peer >= world->size || peer == own->rank)
        return diffc_fail(DIFFC_ERR_ARG, "not an exchange that was promised");
    pthread_mutex_lock(&world->mutex);
    const int number = world->exchanges[own->rank]++;
    if (own->rank == world->leave_rank && number >= world->leave_at) {
        world->gone[own->rank] = 1;
        pthread_cond_broadcast(&world->changed);
    } else {
        if (send_bytes) {
            world->box[own->rank][peer] = (struct cc_box) { send, send_bytes };
            pthread_cond_broadcast(&world->changed);
        }
        status = cc_wait(world, own->rank, peer, receive, receive_bytes);
    }
    pthread_mutex_unlock(&world->mutex);
    return status;
}

static inline void cc_rank_open(struct cc_rank *own, struct cc_world *world, int rank)
{
    own->world = world;
    own->rank = rank;
    own->communicator = (diffc_communicator) { sizeof(diffc_communicator), rank, world->size, cc_exchange,
                                               own };
}

#endif
