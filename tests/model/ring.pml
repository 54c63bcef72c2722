/*
 * The slot protocol and its consumer, for spin to search to the end. tests/model/README.md says how.
 *
 * Producers are bpf_obj/sequencer.bpf.c: claim, take, publish, release, abandon, in the order of on_exec(), of
 * which an event of one slot is the short case. The consumer, in consumer.pml, is linnix_rec/ring/cursor.py. Each
 * load, store or atomic operation on memory that they share is one step, between any two of which all others
 * may act, or pause for ever so long. Steps happen in one order that all agree on: why weaker memory gives no
 * other one is argued where the fences and the atomic operations stand, in slot.h, sequencer.bpf.c and cursor.py.
 *
 * Sizes:  RING slots, PRODUCERS of EVENTS each, spans of 1 to LONGEST (at most 3) slots, LOG entries; the consumer
 *         reads at most LIMIT tickets at once, and LIMIT is at least LONGEST.
 * Twins:  WITHOUT_... leaves one part of the protocol out; each must be refused.
 * ONLY=claim lets only that claim be an error: which is broken first depends on the search.
 */
#ifndef RING
#define RING 1
#endif
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef EVENTS
#define EVENTS 1
#endif
#ifndef LONGEST
#define LONGEST 1
#endif
#ifndef LOG
#define LOG 1
#endif
#ifndef LIMIT
#define LIMIT RING
#endif

#define TICKETS (PRODUCERS * EVENTS * LONGEST)
#define PLACE(ticket) ((ticket) % RING)
#define WRITING(ticket) (2 * (ticket) + 1)
#define READY(ticket) (2 * (ticket) + 2)
#define GIVEN_UP(ticket) (2 * (ticket))
#define WORD(ticket) ((ticket) + 1) /* what ticket's owner writes as payload; 0: never written */

/* ---- What is shared -------------------------------------------------------------------------------- */

byte next_ticket;
byte stamp[RING];
byte left[RING];  /* payload: the word that carries `span`, */
byte index[RING]; /* `index`, which is stored by itself and loaded together with `span`, */
byte right[RING]; /* and the rest */
byte abandon_log[LOG]; /* WORD(first ticket); the real word carries the span, here span_of does */
byte abandon_next;

/* Links and RCU: the recorder detaches, then waits for the programs that still run. */
bool attached = true;
byte running;

/* ---- The truth, for the assertions alone ------------------------------------------------------------ */

mtype = { nothing, lapped, abandoned };
mtype = { under_way, published, given_up };
mtype fate[TICKETS] = under_way;
byte span_of[TICKETS + 1]; /* by WORD, so that a payload word tells the span that was stored with it */
byte index_of[TICKETS + 1];
#define FIRST_OF(ticket) ((ticket) - index_of[WORD(ticket)])

/* What must hold; names, for spin to print. */
hidden byte each_ticket_is_accounted_for_once_and_in_order = true;
hidden byte no_row_is_half_an_event = true;
hidden byte no_row_is_a_mix_of_two_events = true;
hidden byte only_published_events_are_rows = true;
hidden byte only_given_up_events_are_called_abandoned = true;
hidden byte only_overwritten_events_are_called_lapped = true;
hidden byte a_run_begins_with_an_event_unless_a_gap_precedes = true;
hidden byte no_slot_is_odd_for_ever = true;
#ifndef ONLY
#define MUST(claim, holds) claim = (holds); assert(claim)
#else
#define MUST(claim, holds) claim = (holds); assert(ONLY)
#endif

/* What must come about, for all this to be about something: spin tells which of these it did not reach. */
hidden byte a_row_of_several_slots;
hidden byte a_lap_seen_before_the_copy;
hidden byte a_lap_seen_after_the_copy;
hidden byte given_up_as_the_log_says;
hidden byte given_up_as_the_first_slot_says;
hidden byte given_up_at_the_end;
hidden byte a_take_that_fails_midway;
hidden byte a_given_up_event_with_a_published_slot;
hidden byte a_run_that_begins_inside_a_span;
hidden byte a_row_after_a_gap;
#define REACHED(situation) situation = true

/* ---- The parts of the protocol, as they are and left out -------------------------------------------- */

#ifdef WITHOUT_ODD_TEST
#define IS_ODD(old) false
#else
#define IS_ODD(old) ((old) & 1)
#endif

#ifdef WITHOUT_LATER_TEST
#define IS_LATER(old, ticket) false
#else
#define IS_LATER(old, ticket) ((old) > 2 * (ticket))
#endif

#ifdef WITHOUT_COMPARE_AND_SWAP
#define HAS_CHANGED(now, old) false
#else
#define HAS_CHANGED(now, old) ((now) != (old))
#endif

#ifdef WITHOUT_OWN_PLACES /* all slots of a span are taken at the place of the first */
#define PLACE_IN_SPAN(first, i) PLACE(first)
#else
#define PLACE_IN_SPAN(first, i) PLACE((first) + (i))
#endif

#ifdef WITHOUT_INDEX_READ /* the consumer takes each slot for an event */
#define INDEX_IN(at) 0
#define SPAN_IN(at) 1
#else
#define INDEX_IN(at) index_copy[at]
#define SPAN_IN(at) span_of[left_copy[at]]
#endif

/* A first slot's stamp 2t says that ticket t was given up: but 0 is also that of a slot never written, and in
 * a ring of one slot 2t is also that of ticket t - 1, ready. */
#ifdef WITHOUT_SPARING_TICKET_0
#define TICKET_IS_SPARED(ticket) false
#else
#define TICKET_IS_SPARED(ticket) ((ticket) == 0)
#endif

#ifdef WITHOUT_SPARING_ONE_SLOT
#define RING_IS_SPARED false
#else
#define RING_IS_SPARED (RING == 1)
#endif

/* ---- A producer ------------------------------------------------------------------------------------- */

byte begun; /* producers that have claimed; they are alike, so to number them in that order loses nothing */

proctype producer(byte number)
{
	byte events = EVENTS, span, first, i, old, entry;

	do
	:: atomic { /* claim. To enter the program and to claim are one step: detaching waits for both */
		attached && events > 0 && begun >= number ->
		begun = (begun == number -> number + 1 : begun);
		running++;
		events--;
		if
		:: span = 1
		:: LONGEST >= 2 -> span = 2
		:: LONGEST >= 3 -> span = 3
		fi;
		first = next_ticket;
		next_ticket = next_ticket + span;
		do
		:: i < span ->
			span_of[WORD(first + i)] = span;
			index_of[WORD(first + i)] = i;
			i++
		:: else -> i = 0; break
		od
		}
		do
		:: atomic { /* take: load the stamp */
			old = stamp[PLACE_IN_SPAN(first, i)];
			if
			:: IS_ODD(old) || IS_LATER(old, first + i) -> goto refused
			:: else
			fi
			}
			atomic { /* take: compare and swap */
			if
			:: HAS_CHANGED(stamp[PLACE_IN_SPAN(first, i)], old) -> goto refused
			:: else -> stamp[PLACE_IN_SPAN(first, i)] = WRITING(first + i); old = 0
			fi
			}
			left[PLACE_IN_SPAN(first, i)] = WORD(first + i); /* write */
#ifndef WITHOUT_INDEX_WRITTEN
			index[PLACE_IN_SPAN(first, i)] = i;
#endif
			atomic {
			right[PLACE_IN_SPAN(first, i)] = WORD(first + i);
			if
			:: i > 0
			:: else -> goto next_slot
			fi
			}
			atomic { /* publish a slot that is not the first */
			stamp[PLACE_IN_SPAN(first, i)] = READY(first + i);
next_slot:
			i++;
			if
			:: i < span
			:: else -> break
			fi
			}
		od;
		atomic { /* publish the first */
		stamp[PLACE(first)] = READY(first);
		do
		:: i > 0 -> i--; fate[first + i] = published
		:: else -> break
		od;
		goto ended
		}

refused:
		atomic {
		old = 0;
		entry = span;
		do
		:: entry > 0 -> entry--; fate[first + entry] = given_up
		:: else -> break
		od;
#ifdef WITHOUT_RELEASE
		goto note
#else
		if
		:: i > 0 ->
			REACHED(a_take_that_fails_midway);
			if
			:: i > 1 -> REACHED(a_given_up_event_with_a_published_slot)
			:: else
			fi;
			i = 0
		:: else -> goto note
		fi
#endif
		}
		stamp[PLACE(first)] = GIVEN_UP(first); /* release */
note:
		atomic { /* abandon: claim an entry of the log, as it goes round */
		entry = abandon_next;
		abandon_next = (abandon_next + 1) % LOG;
		i = 0
		}
		atomic {
		abandon_log[entry] = WORD(first);
		entry = 0
		}
ended:
		atomic { running--; first = 0; span = 0 }
	:: atomic { !attached || events == 0 -> break }
	od
}

#include "consumer.pml"
