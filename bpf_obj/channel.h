/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a channel is to the programs in programs.h: `struct place`, which it defines before it includes this,
 * and six functions, which it defines behind.
 *
 *   place                 where the event goes
 *   open_event            room for an event of one slot, `head`; false if there is none
 *   close_event           it is written: hand it over
 *   open_span             room for the first slot of an event of `span` slots; false if there is none
 *   further_slot          room for its slot `i`, from 1 on; NULL if there is none
 *   further_slot_written  that slot is written
 *   close_span            all of it is written: hand it over
 *
 * An event for which there is no room is lost as a whole, and the channel has counted it.
 */
#ifndef LINNIX_REC_CHANNEL_H
#define LINNIX_REC_CHANNEL_H

#include "kernel.h"

struct event {
	void *ctx; /* the program's */
	struct account *account;
	struct slot *head;
	u32 kind;
	u32 span;
	struct place *place;
};

static ALWAYS_INLINE bool open_event(struct event *event);
static ALWAYS_INLINE void close_event(struct event *event);
static ALWAYS_INLINE bool open_span(struct event *event);
static ALWAYS_INLINE struct slot *further_slot(struct event *event, u32 i);
static ALWAYS_INLINE void further_slot_written(struct event *event, struct slot *slot, u32 i);
static ALWAYS_INLINE void close_span(struct event *event);

#endif
