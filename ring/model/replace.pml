/* replace.pml: another ring for a producer that lives, one of whose threads is
 * stuck. FORMAT.md, sections 6 to 8.
 *
 * Two writer threads of one process make CLAIMS claims each, first in ring 0; any
 * step of a thread may take for ever, which is what a model checker tries anyway.
 * The consumer, when it finds the oldest claim unfinished, may replace the ring: it
 * announces that, lets a grace pass, takes the write cursor for final, drains, and
 * welcomes the producer to ring 1. One of the threads adopts that; each thread
 * follows when it has no slot open. All frames have the same size, so that a cursor
 * is a sequence number. Every slot's memory holds the number of the claim that was
 * drawn there last.
 *
 * Mutants, by -D, each of which must fail:
 *   SAME_MEMORY   the new ring lies in the old one's memory: reclaimed on a time-out
 *   NO_HOLD       the old ring is unmapped as soon as the new one is adopted
 *   COUNT_ONCE    what is claimed in the old ring after the adoption is not counted
 *   NO_FINAL      the consumer goes on looking at the old ring's new claims
 *   TWO_ADOPT     both threads say HELLO
 *   NO_STATE      claims do not look at the state: nobody ever comes to the new ring
 *   COUNT_READ    what was delivered but not given back counts as lost
 */
#define SLOTS 2
#define CLAIMS 2
#define RINGS 2
#define FREE 0
#define CLAIMED 1
#define COMMITTED 2

#ifdef SAME_MEMORY
#define AT(e, n) ((n) % SLOTS)
#else
#define AT(e, n) ((e) * SLOTS + (n) % SLOTS)
#endif
#define SLOT(e, n) ((e) * SLOTS + (n) % SLOTS)

byte w[RINGS], r[RINGS], peek[RINGS];             /* cursors */
byte tag_seq[RINGS * SLOTS], tag[RINGS * SLOTS];  /* state words; numbers begin at 1 there */
byte memory[RINGS * SLOTS];                       /* ring and number of what was drawn, as DRAWN says */
#define DRAWN(e, n) ((e) * 16 + (n) + 1)
byte users[RINGS];                                /* of the producer's mapping */
bool replaced, welcome, final;
byte cur, adopted;
byte abandoned, lost, counted, delivered, claims, done;
short lent = -1;                                  /* memory of a frame that is out */
byte lent_is, lent_of;

#define UNUSED (abandoned + w[0] - SEEN)
#ifdef COUNT_READ
#define SEEN r[0]
#else
#define SEEN peek[0]
#endif

/* Takes one user of ring 0 away and counts what was claimed there since. */
inline leave0() {
#ifndef COUNT_ONCE
	lost = lost + UNUSED - counted;
	counted = UNUSED;
#endif
	users[0]--
}

active [2] proctype writer() {
	byte e, n, seq;
	users[0]++;
	do
	:: atomic { n == CLAIMS -> break }
	:: n < CLAIMS ->
		/* follow: no slot is open here */
		if
		:: atomic { e != cur -> leave0(); e = cur; users[e]++ }
		:: atomic { e == cur }
		fi;
#ifndef NO_STATE
		if
		:: atomic { e == 0 && replaced -> goto next }
		:: atomic { e == 1 || !replaced }
		fi;
#endif
		do
		:: atomic { w[e] - r[e] < SLOTS -> seq = w[e] };
			if
			:: atomic { w[e] == seq -> w[e]++; claims++; n++; break } /* the compare-and-swap */
			:: atomic { w[e] != seq }
			fi
#ifndef NO_STATE
		:: atomic { w[e] - r[e] >= SLOTS && e == 0 && replaced -> goto next }
#endif
		od;
		/* From here on the thread may be stuck. */
		atomic { assert(users[e] > 0); tag_seq[SLOT(e, seq)] = seq + 1; tag[SLOT(e, seq)] = CLAIMED }
		atomic { assert(users[e] > 0); memory[AT(e, seq)] = DRAWN(e, seq) }
		atomic { assert(users[e] > 0); tag[SLOT(e, seq)] = COMMITTED; seq = 0 }
		goto again;
next:		/* the search: one looks, the others wait for it */
		if
		:: atomic { welcome && cur == 0 ->
#ifdef TWO_ADOPT
			}
			atomic {
#endif
			adopted++;
			lost = lost + UNUSED - counted;
			counted = UNUSED;
			users[1]++;
			cur = 1;
#ifdef NO_HOLD
			users[0] = 0
#else
			users[0]--
#endif
			}
		:: atomic { cur == 1 }
		fi;
again:		skip
	od;
	/* The writer is closed. */
	atomic {
		if
		:: e == 0 && cur == 1 -> leave0()
		:: else -> users[e]--
		fi;
		done++
	}
}

#define TAGGED(e, n) (tag[SLOT(e, n)] != FREE && tag_seq[SLOT(e, n)] == (n) + 1)

inline deliver(e) {
	assert(memory[AT(e, seq)] == DRAWN(e, seq));
	if
	:: lent < 0 -> lent = AT(e, seq); lent_is = DRAWN(e, seq); lent_of = e
	:: true
	fi;
	delivered++;
	seq++;
	peek[e] = seq;
	pass(e)
}

/* Read moves up to what is out, but in a ring that was replaced not any more. */
inline pass(e) {
	if
	:: (lent < 0 || lent_of != e) && !(e == 0 && replaced) -> r[e] = peek[e]
	:: else
	fi
}

/* Whoever holds a frame gives it back at any time. */
active proctype graph() {
end:	do
	:: atomic { lent >= 0 ->
		assert(memory[lent] == lent_is);
		lent = -1;
		pass(lent_of) }
	od
}

active proctype consumer() {
	byte seq, end;
	users[0]++; /* the producer's own, as the current one */
	/* ring 0 */
	do
	:: atomic { TAGGED(0, seq) && tag[SLOT(0, seq)] == COMMITTED && (!final || seq < end) -> deliver(0) }
	:: atomic { !replaced && w[0] > seq && !(TAGGED(0, seq) && tag[SLOT(0, seq)] == COMMITTED) -> replaced = true }
	:: atomic { replaced && !final -> final = true; end = w[0] }
	:: atomic { final && seq < end && !(TAGGED(0, seq) && tag[SLOT(0, seq)] == COMMITTED) -> abandoned++; seq++; peek[0] = seq }
	:: atomic { final && seq >= end && !welcome -> welcome = true; break }
	:: atomic { !replaced && done == 2 && seq == w[0] -> goto over }
	od;
	/* ring 1 */
#ifndef NO_FINAL
	seq = 0;
#endif
	do
#ifdef NO_FINAL
	:: atomic { TAGGED(0, seq) && tag[SLOT(0, seq)] == COMMITTED -> deliver(0) }
	:: atomic { cur == 1 -> seq = 0; break }
	:: atomic { done == 2 -> seq = 0; break }
	od;
	do
#endif
	:: atomic { TAGGED(1, seq) && tag[SLOT(1, seq)] == COMMITTED -> deliver(1) }
	:: atomic { done == 2 && seq == w[1] -> break }
	od;
over:
	/* A producer that never came to the next ring counts when it looks for one. */
	if
	:: cur == 0 && replaced -> lost = lost + UNUSED - counted
	:: else
	fi;
	assert(adopted <= 1);
	assert(delivered + lost == claims)
}
