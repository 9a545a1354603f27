package upload

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Upload is one object on its way. Write belongs to one goroutine; all else may
// be called from any. It ends with exactly one of Close, Suspend and Abort.
type Upload struct {
	o        Options
	schedule Schedule
	st       *store
	sp       *spool
	log      *slog.Logger
	born     time.Time // when it was begun, by whichever process
	resumed  *history  // set when it was taken up

	ctx     context.Context // of the workers
	cancel  context.CancelCauseFunc
	workers sync.WaitGroup

	writing sync.Mutex // held by Write, so that what ends writing waits for it
	w       writer

	creating sync.Mutex // held while the multipart upload is made

	mu     sync.Mutex
	change *sync.Cond // anything below has changed
	id     string     // of the multipart upload; "" while there is none
	asked  time.Time  // when one was asked for first without hearing of it; zero: all are known
	file   *fileEntry // set: parts are ranges of this file
	parts  []*part    // all that were begun; part n is at n-1
	queue  []*part    // to be sent, in order
	ended  error      // why nothing more can be written
	whole  bool       // parts are all that there will be
	again  int        // how often a new multipart upload replaced a lost one
	failed error      // why nothing more will be sent
	n      numbers
}

// part is one part of the object.
type part struct {
	n      int
	offset int64 // in the file of a file upload
	size   int64
	crc    uint32
	known  bool // crc is that of all bytes
	etag   string
	done   bool // the store has confirmed it
	local  bool // its bytes are on disk
}

// numbers are what is counted.
type numbers struct {
	written, confirmed, spooled, spooledMost int64
	done, under                              int // parts that are confirmed, that are under way
	blocked                                  time.Duration
	blockedSince                             time.Time
}

// Start begins an object that Write fills. It asks the store for the multipart
// upload at once, and so finds wrong credentials, a missing bucket and a key in
// use before anything is written.
func Start(ctx context.Context, o Options) (*Upload, error) {
	o, schedule, err := o.complete()
	if err != nil {
		return nil, err
	}
	u, err := begun(o, schedule, nil)
	if err != nil {
		return nil, err
	}
	err = u.open(ctx)
	if err != nil && !(o.Offline && KindOf(err) == Away) {
		u.stop(err)
		if err2 := u.abort(context.WithoutCancel(ctx)); err2 != nil {
			u.sp.close()
			return nil, errors.Join(err, err2)
		}
		return nil, err
	}
	u.work()
	return u, nil
}

// StartFile begins to send a file that is ready; Close waits for the end. Its
// bytes are read where they are: the spool holds only the journal. A file that
// fits into one part is sent by one request.
func StartFile(ctx context.Context, path string, o Options) (*Upload, error) {
	file, err := describe(path)
	if err != nil {
		return nil, err
	}
	setDefault(&o.PartSize, DefaultPart)
	o.SpoolMax, o.ExpectedSize = 0, 0 // there is no spool to fill
	schedule := forSize(o.PartSize, file.Size)
	o.SpoolMax = spoolParts * schedule.First
	if o, _, err = o.complete(); err != nil {
		return nil, err
	}
	u, err := begun(o, schedule, file)
	if err != nil {
		return nil, err
	}
	u.cutFile()
	u.queue = append(u.queue, u.parts...)
	if err := u.st.ask(ctx, "asking for the key", u.isFree); err != nil && !(o.Offline && KindOf(err) == Away) {
		u.stop(err)
		u.sp.remove()
		return nil, err
	}
	u.work()
	return u, nil
}

func describe(path string) (*fileEntry, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, localError(path, "the file cannot be read", errors.Unwrap(err))
	}
	if !st.Mode().IsRegular() {
		return nil, &Error{Kind: Local, Where: path, Msg: "this is no ordinary file"}
	}
	full, err := filepath.Abs(path) // whoever takes it up may be elsewhere
	if err != nil {
		return nil, localError(path, "the file cannot be found", err)
	}
	return &fileEntry{Path: full, Size: st.Size(), ModTime: st.ModTime()}, nil
}

// begun makes the spool of a new upload.
func begun(o Options, schedule Schedule, file *fileEntry) (*Upload, error) {
	st, err := newStore(o)
	if err != nil {
		return nil, err
	}
	sp, err := newSpool(o.Spool, &begin{
		Version: journalVersion, Created: time.Now(), PID: os.Getpid(),
		Place: o.Place, Object: o.Object, Schedule: schedule, Keep: o.Keep, File: file,
	})
	if err != nil {
		return nil, err
	}
	return newUpload(o, schedule, st, sp, file, time.Now()), nil
}

func newUpload(o Options, schedule Schedule, st *store, sp *spool, file *fileEntry, born time.Time) *Upload {
	u := &Upload{o: o, schedule: schedule, st: st, sp: sp, file: file, born: born, log: o.Log.With("target", o.Place.String())}
	u.change = sync.NewCond(&u.mu)
	u.ctx, u.cancel = context.WithCancelCause(context.Background())
	return u
}

// work starts the workers.
func (u *Upload) work() {
	for range u.o.Parallel {
		u.workers.Add(1)
		go func() {
			defer u.workers.Done()
			u.sendAll()
		}()
	}
}

// stop ends writing and sending with a reason and waits for the workers. The
// spool stays.
func (u *Upload) stop(why error) {
	u.endWriting(why)
	u.cancel(why)
	u.mu.Lock()
	u.change.Broadcast()
	u.mu.Unlock()
	u.workers.Wait()
	u.st.close()
}

// cutFile makes the parts of a file.
func (u *Upload) cutFile() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended, u.whole = errClosed, true
	u.n.written = u.file.Size
	for n := 1; u.schedule.Offset(n) < u.file.Size || n == 1; n++ {
		from := u.schedule.Offset(n)
		u.parts = append(u.parts, &part{n: n, offset: from, size: min(u.schedule.Size(n), u.file.Size-from), local: true})
	}
}

// known is the id of the multipart upload.
func (u *Upload) known() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.id
}

// Spool is the folder that holds what the store lacks.
func (u *Upload) Spool() string { return u.sp.dir }

var errClosed = &Error{Kind: Stopped, Msg: "the upload was closed"}
