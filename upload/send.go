package upload

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// sendAll is a worker: it sends parts until there are no more or sending fails.
func (u *Upload) sendAll() {
	for {
		p := u.next()
		if p == nil {
			return
		}
		id, err := u.sendOne(p)
		u.mu.Lock()
		u.n.under--
		if err != nil {
			u.queue = append([]*part{p}, u.queue...)
			if u.ctx.Err() == nil && !u.beginAgain(err, id) && u.failed == nil {
				u.failed = err
				u.log.Error("sending has ended", "error", err)
			}
		}
		u.change.Broadcast()
		u.mu.Unlock()
	}
}

// next waits for a part; nil: there is nothing more to do.
func (u *Upload) next() *part {
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		switch {
		case u.ctx.Err() != nil || u.failed != nil:
			return nil
		case len(u.queue) > 0:
			p := u.queue[0]
			u.queue = u.queue[1:]
			u.n.under++
			return p
		case u.whole && u.allDone():
			return nil
		}
		u.change.Wait()
	}
}

// allDone is whether the store has confirmed all parts; u.mu is held.
func (u *Upload) allDone() bool { return u.n.done == len(u.parts) }

// beginAgain answers the loss of a multipart upload, such as by a rule of the
// bucket that aborts old ones, by a new one, if all bytes are still here. u.mu is
// held.
func (u *Upload) beginAgain(err error, id string) bool {
	if KindOf(err) != Gone || u.again == maxAgain {
		return false
	}
	for _, p := range u.parts {
		if !p.local {
			return false
		}
	}
	if u.id != id {
		return true // another worker was first
	}
	u.log.Warn("the store no longer knows the multipart upload: beginning again", "upload", u.id)
	u.id = ""
	u.again++
	for _, p := range u.parts {
		if p.done {
			p.done, p.etag = false, ""
			u.n.done--
			u.n.confirmed -= p.size
			u.n.spooled += u.spoolSize(p)
			u.queue = append(u.queue, p)
		}
	}
	return true
}

// maxAgain bounds beginAgain: a store that loses one upload after the other has
// something wrong that sending everything anew does not mend.
const maxAgain = 5

// spoolSize is what a part takes up in the spool.
func (u *Upload) spoolSize(p *part) int64 {
	if u.file != nil || !p.local {
		return 0
	}
	return p.size
}

// sendOne sends one part, to the multipart upload with the id that it gives.
func (u *Upload) sendOne(p *part) (id string, err error) {
	f, err := os.Open(u.pathOf(p))
	if err != nil {
		return "", localError(u.pathOf(p), "a part cannot be read", errors.Unwrap(err))
	}
	defer f.Close()
	if u.file != nil {
		if err := u.unchanged(f); err != nil {
			return "", err
		}
	}
	if !p.known {
		sum := crc32.NewIEEE()
		if err := readPart(f, p, sum); err != nil {
			return "", err
		}
		p.crc, p.known = sum.Sum32(), true
	}
	if u.single() {
		return "", u.putWhole(f, p)
	}
	if err := u.created(u.ctx); err != nil {
		return "", err
	}
	id = u.known()
	etag, err := u.sendPart(f, p, id)
	if err != nil {
		return id, err
	}
	return id, u.confirmed(p, id, etag)
}

func readPart(f *os.File, p *part, into io.Writer) error {
	n, err := io.Copy(into, io.NewSectionReader(f, p.offset, p.size))
	if err == nil && n != p.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return localError(f.Name(), "a part cannot be read", err)
	}
	return nil
}

func (u *Upload) pathOf(p *part) string {
	if u.file != nil {
		return u.file.Path
	}
	return u.sp.partPath(p.n)
}

// unchanged refuses a file that is not what its upload began with.
func (u *Upload) unchanged(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return localError(u.file.Path, "the file cannot be read", err)
	}
	if st.Size() != u.file.Size || !st.ModTime().Equal(u.file.ModTime) {
		return &Error{Kind: Local, Where: u.file.Path, Msg: "the file has changed since its upload began",
			Remedy: "give this upload up with `mpipe upload --abort " + u.sp.dir + "` and send the file anew"}
	}
	return nil
}

// single is whether all of the object is one part, and no multipart upload has
// been made for it: one request does then.
func (u *Upload) single() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.whole && len(u.parts) == 1 && u.id == ""
}

func (u *Upload) sendPart(f *os.File, p *part, id string) (etag string, err error) {
	err = u.st.do(u.ctx, "sending a part", 0, func(ctx context.Context, a attempt) error {
		in := &s3.UploadPartInput{
			Bucket: &u.o.Bucket, Key: &u.o.Key, UploadId: &id, PartNumber: aws.Int32(int32(p.n)),
			Body: newBody(f, p, a.beat), ContentLength: &p.size,
		}
		if !u.o.NoChecksum {
			in.ChecksumCRC32, in.ChecksumAlgorithm = aws.String(checksum(p.crc)), types.ChecksumAlgorithmCrc32
		}
		out, err := a.client.UploadPart(ctx, in)
		if err == nil {
			etag = aws.ToString(out.ETag)
			return nil
		}
		err = u.st.verdict(ctx, err, func() error {
			_, err := a.client.ListParts(ctx, &s3.ListPartsInput{Bucket: &u.o.Bucket, Key: &u.o.Key, UploadId: &id, MaxParts: aws.Int32(1)})
			return err
		})
		return u.notDamaged(f, p, err)
	})
	return etag, err
}

// notDamaged tells bytes that changed on the way, which are sent again, from
// bytes that changed on disk.
func (u *Upload) notDamaged(f *os.File, p *part, err error) error {
	if codeOf(u.st.classify("", err)) != "BadDigest" {
		return err
	}
	sum := crc32.NewIEEE()
	if err := readPart(f, p, sum); err != nil {
		return err
	}
	if sum.Sum32() == p.crc {
		return err
	}
	return &Error{Kind: Damaged, Where: f.Name(), Msg: "what the disk gives back is not what was written"}
}

// verdict finds out why a request with a body failed. A store that refuses one
// may answer and close before it has read the body, and the client then sees a
// broken connection and not the answer; a request without a body gets it.
func (s *store) verdict(ctx context.Context, err error, ask func() error) error {
	if e := s.classify("", err); e.Kind != Away || codeOf(e) != "" || ctx.Err() != nil {
		return err
	}
	second := ask()
	if second == nil {
		return err
	}
	switch codeOf(s.classify("", second)) {
	case "", "AccessDenied": // listing may be forbidden where writing is not
		return err
	}
	return second
}

// confirmed notes that the store has the part, and only then lets go of it.
func (u *Upload) confirmed(p *part, id, etag string) error {
	if err := u.sp.append(entry{Part: &partEntry{N: p.n, Size: p.size, CRC: p.crc, ETag: etag}}); err != nil {
		u.log.Warn("a part is not in the journal; the store knows of it", "part", p.n, "error", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.id != id { // it went to an upload that has been lost meanwhile
		return &Error{Kind: Gone, Where: u.o.Place.String(), Msg: "the multipart upload is gone"}
	}
	u.done(p, etag)
	return nil
}

// done notes that a part is with the store and deletes its file; u.mu is held.
func (u *Upload) done(p *part, etag string) {
	p.done, p.etag = true, etag
	u.n.done++
	u.n.confirmed += p.size
	u.n.spooled -= u.spoolSize(p)
	if u.file != nil || u.o.Keep || !p.local {
		return
	}
	p.local = false
	if err := os.Remove(u.sp.partPath(p.n)); err != nil && !errors.Is(err, os.ErrNotExist) {
		u.log.Warn("a part that is sent stays on disk", "error", err)
	}
}

// body is a part as a request's body: it may be read several times, for the
// signature and for sending, and tells that it moves.
type body struct {
	*io.SectionReader
	beat func()
}

func newBody(f io.ReaderAt, p *part, beat func()) *body {
	return &body{io.NewSectionReader(f, p.offset, p.size), beat}
}

func (b *body) Read(p []byte) (int, error) {
	b.beat()
	return b.SectionReader.Read(p)
}
