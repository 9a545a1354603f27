package ring

// faultPoint numbers the steps at which a producer can die and leave something
// half done. The writer's code and c/mpipe_ring.h name the point they have just
// reached (MPR_AT_ in C, with the same numbers); TestKill dies at every one of
// them. In an ordinary build of either language a point is no code at all.
type faultPoint uint32

const (
	// Attaching. Those marked "named" do not exist over a socket.
	faultFound       faultPoint = iota + 1 // connected, or (named) both files mapped; nothing said yet
	faultMailbox                           // named: the mailbox is ours, the HELLO not written
	faultHello                             // named: the HELLO is written, not posted
	faultPosted                            // the HELLO is sent or posted
	faultWelcome                           // taken: the fds are here, or (named) the state is live
	faultMapped                            // mapped and checked; the producer's state is not stored
	faultAttached                          // the producer's state is stored
	faultWriterEntry                       // an entry of the writer table is taken, its pid not written

	// Publishing a format.
	faultFormat    // the entry is written, its state is not
	faultPublished // the state is stored

	// Claiming.
	faultRoom    // there is room; no intent yet
	faultIntent  // the intent is stored
	faultMoved   // the write cursor is moved; the slot is as it was
	faultFilled  // the slot's first line is written; no tag
	faultTagged  // CLAIMED is stored; the intent still stands
	faultClaimed // the intent is cleared

	// Committing and aborting.
	faultStamped   // the slot's second line is written, COMMITTED is not
	faultCommitted // COMMITTED is stored; the waiters were not looked at
	faultAborting  // about to store ABORTED
	faultAborted   // ABORTED is stored; the waiters were not looked at
	faultTookWait  // data_waiters or full_waiters is cleared; data_seq is not moved
	faultMovedSeq  // data_seq is moved; nobody was woken

	// Waiting for space.
	faultWaiting // space_waiters is raised
	faultWoken   // awake again, space_waiters still raised

	// Ending.
	faultEnded  // the producer's state says ended; the consumer was not woken
	faultUnsaid // everything was said; nothing is unmapped or closed

	faultCount = faultUnsaid
)
