/*
 * The consumer, part of ring.pml: linnix_rec/ring/cursor.py, with its names. A round from `look` on is one read().
 */
#define LOST_BELOW (seen - RING)

/* Tickets from `seq` to `end` are a gap. */
inline lose(reason)
{
	MUST(each_ticket_is_accounted_for_once_and_in_order, accounted == seq && seq < end && end <= next_ticket);
	do
	:: seq < end ->
		if
		:: reason == abandoned ->
			MUST(only_given_up_events_are_called_abandoned, fate[seq] == given_up)
		:: else ->
			MUST(only_overwritten_events_are_called_lapped, FIRST_OF(seq) < LOST_BELOW)
		fi;
		seq++
	:: else -> break
	od;
	accounted = seq;
	gap = reason;
	end = 0
}

/* `span` and `index` lie in one word. */
inline copy_left()
{
	atomic {
	left_copy[i] = left[PLACE(seq + i)];
	index_copy[i] = index[PLACE(seq + i)]
	}
}

/* `end` is where the event at `seq` ends, as far as ready slots still tell. No producer runs any more. */
inline find_end_at_the_end()
{
	do
	:: i == LONGEST || (stamp[PLACE(seq + i)] != READY(seq + i) && seq + i + 1 == next_ticket) ->
		end = seq + 1;
		break
	:: i < LONGEST && stamp[PLACE(seq + i)] == READY(seq + i) ->
		end = (index[PLACE(seq + i)] >= i ->
			seq + i + span_of[left[PLACE(seq + i)]] - index[PLACE(seq + i)] : seq + i);
		break
	:: else -> i++
	od;
	i = 0
}

active proctype consumer()
{
	byte seq, accounted, seen, ready, i, end;
	byte left_copy[RING], index_copy[RING], right_copy[RING];
	mtype gap = nothing; /* that ends at seq, held back as it may grow */
	bool final;

	atomic {
	do
	:: i < PRODUCERS -> run producer(i); i++
	:: else -> i = 0; break
	od
	}

look:
	atomic {
	seen = next_ticket;
	if
	:: seq < LOST_BELOW -> end = LOST_BELOW; lose(lapped); REACHED(a_lap_seen_before_the_copy)
	:: else
	fi;
	if
	:: seq == seen && final -> goto finished
	:: seq == seen && !final -> goto between_reads
	:: else
	fi
	}

	/* The longest run of ready slots, */
	do
	:: atomic {
		if
		:: seq + ready < seen && ready < LIMIT && stamp[PLACE(seq + ready)] == READY(seq + ready) -> ready++
		:: else -> break
		fi
		}
	od;

	/* its copy, each slot in one or the other direction, */
	do
	:: i < ready -> copy_left(); right_copy[i] = right[PLACE(seq + i)]; i++
	:: i < ready -> right_copy[i] = right[PLACE(seq + i)]; copy_left(); i++
	:: else -> break
	od;

	/* cut after its last whole span. */
	atomic {
	if
	:: ready > 0 && INDEX_IN(ready - 1) + 1 != SPAN_IN(ready - 1) ->
		i = INDEX_IN(ready - 1) + 1;
		do
		:: ready > 0 && i > 0 -> ready--; i--
		:: else -> break
		od
	:: else
	fi;
	i = 0;
	if
	:: ready == 0 -> goto nothing_ready
	:: else
	fi
	}

	/* Unless the ring was lapped, nobody has touched what was copied. */
	atomic {
#ifndef WITHOUT_LOOKING_AGAIN
	seen = next_ticket;
#endif
	i = (seq < LOST_BELOW -> LOST_BELOW - seq : 0);
	if
	:: i > 0 -> REACHED(a_lap_seen_after_the_copy)
	:: else
	fi;
	if
	:: i < ready && INDEX_IN(i) > 0 -> /* a span that is cut is lost to its end */
		i = i + SPAN_IN(i) - INDEX_IN(i);
		i = (i < ready -> i : ready);
	:: else
	fi;
	end = seq + i;
	if
	:: i > 0 && seq < LOST_BELOW -> lose(lapped)
	:: i > 0 && seq >= LOST_BELOW ->
		REACHED(a_run_that_begins_inside_a_span);
		MUST(a_run_begins_with_an_event_unless_a_gap_precedes, gap != nothing);
		lose(gap)
	:: else -> end = 0
	fi;
	/* What is left are rows. */
	if
	:: i < ready ->
		if
		:: gap != nothing -> gap = nothing; REACHED(a_row_after_a_gap)
		:: else
		fi;
		end = seq + ready - i;
		MUST(no_row_is_half_an_event,
		     index_of[WORD(seq)] == 0 && index_of[WORD(end - 1)] + 1 == span_of[WORD(end - 1)]);
		MUST(each_ticket_is_accounted_for_once_and_in_order, accounted == seq && end <= next_ticket);
		do
		:: i < ready ->
			MUST(no_row_is_a_mix_of_two_events, left_copy[i] == WORD(seq) && right_copy[i] == WORD(seq));
			MUST(only_published_events_are_rows, fate[seq] == published);
			if
			:: index_of[WORD(seq)] > 0 -> REACHED(a_row_of_several_slots)
			:: else
			fi;
			seq++;
			i++
		:: else -> break
		od;
		accounted = end;
		end = 0
	:: else
	fi;
	goto between_reads
	}

nothing_ready:
	atomic { /* because the ring was lapped, */
	seen = next_ticket;
	if
	:: seq < LOST_BELOW -> end = LOST_BELOW; lose(lapped); goto between_reads
	:: else
	fi
	}
	do /* or the event was given up, as the log says, */
	:: i < LOG ->
		atomic {
		end = abandon_log[i];
		if
		:: end > 0 && end <= WORD(seq) && WORD(seq) < end + span_of[end] ->
			REACHED(given_up_as_the_log_says);
			end = end - 1 + span_of[end];
			lose(abandoned);
			goto between_reads
		:: else -> end = 0; i++
		fi
		}
	:: else -> break
	od;
	i = 0;
	atomic { /* or the first slot's stamp, */
	if
	:: !TICKET_IS_SPARED(seq) && !RING_IS_SPARED && stamp[PLACE(seq)] == GIVEN_UP(seq)
	:: else -> goto not_given_up
	fi
	}
	end = seq + span_of[left[PLACE(seq)]];
	atomic {
#ifndef WITHOUT_LOOKING_AGAIN_AT_A_HEAD
	seen = next_ticket;
#endif
	if
	:: seq >= LOST_BELOW ->
		REACHED(given_up_as_the_first_slot_says);
		lose(abandoned);
		goto between_reads
	:: else -> end = 0
	fi
	}
not_given_up:
	atomic { /* or the end of the recording: what is not published now never will be. */
	if
	:: final ->
		REACHED(given_up_at_the_end);
		find_end_at_the_end();
		lose(abandoned)
	:: else
	fi
	}

between_reads:
	atomic {
	seen = 0;
	ready = 0;
	i = 0;
	do
	:: i < RING -> left_copy[i] = 0; index_copy[i] = 0; right_copy[i] = 0; i++
	:: else -> i = 0; break
	od;
	if
	:: goto look
	:: !final -> attached = false /* the recording ends */
	fi
	}
	atomic {
#ifndef WITHOUT_WAITING
	running == 0;
#endif
	final = true;
	goto look
	}

finished:
	atomic {
	MUST(each_ticket_is_accounted_for_once_and_in_order, accounted == next_ticket);
	do
	:: i < RING -> MUST(no_slot_is_odd_for_ever, (stamp[i] & 1) == 0); i++
	:: else -> break
	od
	}
}
