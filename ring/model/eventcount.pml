/* eventcount.pml: who wakes whom, in both directions, without any time-out.
 *
 * One writer, one thread that releases lent frames, and the consumer, over a
 * ring of CAP frames. The real sleeps are cut to 100 ms; here they last until
 * somebody wakes the sleeper, so that a lost wake-up is a deadlock, which Spin
 * reports as an invalid end state. Names are those of FORMAT.md, sections 6 and 7.
 *
 * Memory is x86's: a store waits in its thread's buffer (the b_ variables) until
 * process memory lets it out, a fence or an exchange waits for the buffer to be
 * empty. Each store that somebody's sleep depends on goes through one.
 *
 * With -DLARGE frames are so large that the ring is full while half of it is free,
 * when the consumer does not want releases yet.
 *
 * Mutants, by -D, each of which must fail:
 *   NO_FENCE_COMMIT   no fence between a commit and the look at data_waiters
 *   NO_FENCE_RELEASE  the same for a release and the release waiters
 *   NO_FENCE_SLEEP    the consumer looks again before its words are visible
 *   NO_FENCE_SPACE    no fence between read and the look at space_waiters
 *   WAKE_FIRST        the writer looks at data_waiters before it commits
 *   NO_SECOND_LOOK    the consumer does not look again after setting its words
 *   NO_WANTS_AGAIN    nor at whether a writer waits for space meanwhile
 *   NO_FULL           a writer that finds the ring full tells nobody
 *   NO_SECOND_TRY     a writer sleeps without trying again
 *   KEY_LATE          a writer takes space_seq's value after it tried again
 */
#define FRAMES 3
#define CAP 2
#ifdef LARGE
#define ROOM 1
#else
#define ROOM CAP
#endif

byte committed, released, lent, read;   /* what is visible of them */
bool data_waiters, full_waiters, release_waiters;
byte space_waiters, data_seq, space_seq;
bool consumer_sleeps, writer_sleeps;

byte b_commit, b_release, b_read;       /* stores not out yet */
bool b_data, b_full, b_rel;

inline wake_consumer() { data_seq++; consumer_sleeps = false }

/* FUTEX_WAIT: the kernel compares and sleeps in one step. */
inline consumer_wait(key) {
	atomic {
		if
		:: data_seq == key -> consumer_sleeps = true
		:: else
		fi
	}
	!consumer_sleeps
}

inline tell_full() {
#ifndef NO_FULL
	if
	:: full_waiters -> atomic { was = full_waiters; full_waiters = false }
		if
		:: atomic { was -> was = false; wake_consumer() }
		:: else
		fi
	:: else
	fi
#else
	skip
#endif
}

inline look_at_data_waiters() {
	if
	:: data_waiters -> atomic { was = data_waiters; data_waiters = false }
		if
		:: atomic { was -> was = false; wake_consumer() }
		:: else
		fi
	:: else
	fi
}

active proctype memory() {
end:	do
	:: b_commit > 0 -> atomic { committed++; b_commit-- }
	:: b_release > 0 -> atomic { released++; b_release-- }
	:: b_read > 0 -> atomic { read = b_read; b_read = 0 }
	:: b_data -> atomic { data_waiters = true; b_data = false }
	:: b_full -> atomic { full_waiters = true; b_full = false }
	:: b_rel -> atomic { release_waiters = true; b_rel = false }
	od
}

active proctype writer() {
	byte n, key;
	bool was, room;
	do
	:: n < FRAMES ->
		if
		:: n - read >= ROOM ->
			tell_full();
			do
			:: atomic { b_commit == 0 -> space_waiters++ } /* SYNC POINT space: an exchange */
#ifndef KEY_LATE
				key = space_seq;
#endif
#ifndef NO_SECOND_TRY
				room = (n - read < ROOM);
#endif
#ifdef KEY_LATE
				key = space_seq;
#endif
				if
				:: room
				:: !room ->
					tell_full();
					atomic {
						if
						:: space_seq == key -> writer_sleeps = true
						:: else
						fi
					}
					!writer_sleeps
				fi;
				atomic { space_waiters--; room = false; key = 0 }
				if
				:: n - read < ROOM -> break
				:: else
				fi
			od
		:: else
		fi;
#ifdef WAKE_FIRST
		look_at_data_waiters();
#endif
		atomic { b_commit++; n++ } /* SYNC POINT commit */
#ifndef NO_FENCE_COMMIT
		b_commit == 0;
#endif
#ifndef WAKE_FIRST
		look_at_data_waiters()   /* SYNC POINT wake */
#endif
	:: else -> break
	od
}

/* The last user of lent frames: a thread of an encoder. */
active proctype releaser() {
	byte n;
	do
	:: n < FRAMES ->
		atomic { lent > n -> b_release++; n++ } /* SYNC POINT release */
#ifndef NO_FENCE_RELEASE
		b_release == 0;
#endif
		if
		:: release_waiters -> wake_consumer()
		:: else
		fi
	:: else -> break
	od
}

/* Moves read over what is finished and wakes a writer that waits for it. */
inline reclaim() {
	if
	:: atomic { released > mine ->
		mine = released;
		b_read = mine;           /* SYNC POINT space */
		progress = true }
#ifndef NO_FENCE_SPACE
		b_read == 0;
#endif
		if
		:: space_waiters > 0 -> atomic { space_seq++; writer_sleeps = false }
		:: else
		fi
	:: else
	fi
}

/* The consumer wants releases when more than half is in use, or a writer waits. */
inline wants() { releases = (committed - mine > CAP / 2 || space_waiters > 0) }

active proctype consumer() {
	byte last, mine;
	bool progress, releases;
	do
	:: lent == FRAMES -> break /* what is released after that, nobody needs to know */
	:: else ->
		last = data_seq;         /* what the owner is about to see for itself */
		do
		:: atomic { lent < committed -> lent++ }
		:: else -> break
		od;
		reclaim();
		if
		:: lent < FRAMES ->
			wants();
			atomic {
				b_data = true;
				if
				:: releases -> b_rel = true
				:: else -> b_full = true
				fi
			}
#ifndef NO_FENCE_SLEEP
			(!b_data && !b_rel && !b_full);
#endif
#ifndef NO_SECOND_LOOK
			reclaim();
			if
			:: progress || lent < committed -> goto awake
			:: else
			fi;
#endif
#ifndef NO_WANTS_AGAIN
			if
			:: !releases -> wants();
				if
				:: releases -> goto awake
				:: else
				fi
			:: else
			fi;
#endif
			consumer_wait(last);
awake:			atomic {
				(!b_data && !b_rel && !b_full);
				data_waiters = false; full_waiters = false; release_waiters = false;
				progress = false; releases = false
			}
		:: else
		fi
	od
}
