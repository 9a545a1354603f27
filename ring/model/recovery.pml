/* recovery.pml: claims, a producer that dies or hangs up at any step, and what
 * the consumer does about it. FORMAT.md, sections 6 and 8.
 *
 * Two writer threads of one process over a class of SLOTS slots and CAP granules;
 * each of CLAIMS claims takes 1 or 2 granules, and is committed or aborted. The
 * write cursor is (w_seq, w_pos), moved by one compare-and-swap. Positions do not
 * wrap and no tail is skipped: arithmetic is what the other tests are for. Every
 * granule holds the number of the claim that was drawn there last.
 *
 * The process dies in one step, all of its threads with it. With -DHANGUP it
 * closes its connection and goes on writing.
 *
 * Mutants, by -D, each of which must fail:
 *   TIMEOUT     the consumer gives up a claim of a producer that lives
 *   EARLY_END   the final write cursor is taken before the death is proven
 *   ANY_TAG     a tag of an older claim in the same slot counts
 *   TAG_FIRST   a writer tags the slot before it fills it
 *   SKIP_ONE    an untagged claim is taken for one of 1 granule
 *   SKIP_ALL    everything behind an untagged claim is skipped
 *   BLIND_CAS   the write cursor is stored rather than compared and swapped
 */
#define SLOTS 2
#define CAP 3
#define CLAIMS 3
#define FREE 0
#define CLAIMED 1
#define COMMITTED 2
#define ABORTED 3

byte w_seq = 1, w_pos;           /* the write cursor; no claim has the number 0 */
byte r_seq = 1, r_pos;           /* the read cursor */
byte tag_seq[SLOTS], tag[SLOTS]; /* the slots' state words */
byte claim_pos[SLOTS], extent[SLOTS];
byte arena[CAP];
bool dead, over;                 /* over: by death or by the end of the connection */

/* For the assertions. */
bool due[CLAIMS + 1];            /* committed before the end: to be delivered */
bool given[CLAIMS + 1];          /* delivered */

active [2] proctype writer() {
	byte seq, pos, n, i;
	do
	:: atomic { dead || w_seq > CLAIMS -> break }
	:: atomic { !dead && w_seq <= CLAIMS -> seq = w_seq; pos = w_pos };
		if
		:: n = 1
		:: n = 2
		fi;
		if
		:: atomic { dead || seq - r_seq >= SLOTS || pos + n - r_pos > CAP -> goto again } /* full */
		:: else
		fi;
		if
#ifdef BLIND_CAS
		:: atomic { !dead -> w_seq = seq + 1; w_pos = pos + n }
#else
		:: atomic { !dead && w_seq == seq -> w_seq = seq + 1; w_pos = pos + n }
		:: atomic { !dead && w_seq != seq -> goto again }
#endif
		:: dead -> break
		fi;
#ifdef TAG_FIRST
		if
		:: atomic { !dead -> tag_seq[seq % SLOTS] = seq; tag[seq % SLOTS] = CLAIMED }
		:: dead -> break
		fi;
#endif
		if
		:: atomic { !dead -> claim_pos[seq % SLOTS] = pos; extent[seq % SLOTS] = n }
		:: dead -> break
		fi;
#ifndef TAG_FIRST
		if
		:: atomic { !dead -> tag_seq[seq % SLOTS] = seq; tag[seq % SLOTS] = CLAIMED } /* SYNC POINT tag */
		:: dead -> break
		fi;
#endif
		i = 0;
		do
		:: atomic { !dead && i < n -> arena[(pos + i) % CAP] = seq; i++ }
		:: atomic { !dead && i == n -> break }
		:: dead -> goto out
		od;
		if
		:: atomic { !dead -> tag[seq % SLOTS] = COMMITTED; due[seq] = !over } /* SYNC POINT commit */
		:: atomic { !dead -> tag[seq % SLOTS] = ABORTED }
		:: dead -> break
		fi;
again:		atomic { n = 0; i = 0; seq = 0; pos = 0 }
	od;
out:	skip
}

active proctype killer() {
#ifdef HANGUP
	over = true
#else
	atomic { dead = true; over = true }
#endif
}

#ifdef ANY_TAG
#define TAGGED(n) (tag[(n) % SLOTS] != FREE)
#else
#define TAGGED(n) (tag[(n) % SLOTS] != FREE && tag_seq[(n) % SLOTS] == (n))
#endif

/* Read moves over what was looked at: its slot and bytes are the writers' again. */
inline pass(n_claims, n_granules) {
	seq = seq + n_claims;
	pos = pos + n_granules;
	r_seq = seq;
	r_pos = pos
}

active proctype consumer() {
	byte seq = 1, pos, end_seq, end_pos, n, i, word, delivered, aborted, abandoned;
	bool final;
	do
	:: atomic { final && seq == end_seq -> break }
	/* SYNC POINT end: first the proof, then the cursor */
#ifdef EARLY_END
	:: !final -> atomic { end_seq = w_seq; end_pos = w_pos };
		if
		:: over -> final = true
		:: else
		fi
#else
	:: atomic { !final && over -> final = true; end_seq = w_seq; end_pos = w_pos }
#endif
	:: atomic { (!final || seq != end_seq) && seq <= CLAIMS && TAGGED(seq) -> word = tag[seq % SLOTS] };
		if
		:: word == COMMITTED ->
			atomic {
				assert(claim_pos[seq % SLOTS] == pos);
				n = extent[seq % SLOTS];
				i = 0;
				do
				:: i < n -> assert(arena[(pos + i) % CAP] == seq); i++
				:: else -> break
				od;
				assert(!given[seq]);
				given[seq] = true;
				delivered++;
				pass(1, n)
			}
		:: atomic { word == ABORTED -> aborted++; n = extent[seq % SLOTS]; pass(1, n) }
#ifdef TIMEOUT
		:: atomic { word == CLAIMED -> abandoned++; n = extent[seq % SLOTS]; pass(1, n) }
#else
		:: atomic { word == CLAIMED && final ->
			assert(claim_pos[seq % SLOTS] == pos);
			abandoned++; n = extent[seq % SLOTS]; pass(1, n) }
		:: word == CLAIMED && !final
#endif
		fi;
		atomic { word = 0; n = 0; i = 0 }
	:: atomic { final && seq != end_seq && !TAGGED(seq) -> i = seq + 1 };
		/* Claimed, but never tagged: up to the next tag, or the end. */
		do
		:: atomic { i == end_seq -> n = end_pos; break }
#ifndef SKIP_ALL
		:: atomic { i != end_seq && TAGGED(i) -> n = claim_pos[i % SLOTS]; break }
		:: atomic { i != end_seq && !TAGGED(i) -> i++ }
#else
		:: i != end_seq -> i++
#endif
		od;
#ifdef SKIP_ONE
		atomic { i = seq + 1; n = pos + 1 }
#endif
		atomic { abandoned = abandoned + i - seq; pass(i - seq, n - pos); i = 0; n = 0 }
	od;
	assert(pos == end_pos && r_seq == end_seq && r_pos == end_pos);
	assert(delivered + aborted + abandoned == end_seq - 1);
	for (i : 1 .. CLAIMS) {
		assert(!due[i] || given[i])
	}
}
