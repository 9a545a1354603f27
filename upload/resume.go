package upload

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Open takes up an upload that its process left: dead, or suspended. Path is the
// upload's folder below the spool, or the journal in it. Nothing more can be
// written: Close finishes the object with what there is, Abort gives it up,
// Suspend leaves it.
//
// Where the object goes and how it is kept is in the journal. Of o, what says how
// to reach the store overrides the journal when set (Endpoint, Region, CAFile,
// Profile; Overwrite when true), and Keys, Parallel, Stall, GiveUp and Log count.
func Open(path string, o Options) (*Upload, error) {
	sp, h, err := openSpool(path)
	if err != nil {
		return nil, err
	}
	if h.begin.Publish {
		sp.close()
		return nil, &Error{Kind: Local, Where: path, Msg: "these are small files, not one object", Remedy: "`mpipe upload --resume " + path + "` sends them"}
	}
	u, err := opened(sp, h, o)
	if err != nil {
		sp.close()
		return nil, err
	}
	return u, nil
}

func opened(sp *spool, h *history, o Options) (*Upload, error) {
	merged := h.merged(o)
	merged.PartSize, merged.Keep, merged.ExpectedSize = h.Schedule.First, h.Keep, 0
	merged.SpoolMax = spoolParts * max(h.Schedule.Most, h.Schedule.First)
	merged, _, err := merged.complete()
	if err != nil {
		return nil, err
	}
	st, err := newStore(merged)
	if err != nil {
		return nil, err
	}
	u := newUpload(merged, h.Schedule, st, sp, h.File, h.Created)
	u.id, u.asked, u.resumed, u.ended = h.id, h.creating, h, errClosed
	if u.file != nil {
		u.cutFile()
	} else if err := u.findParts(); err != nil {
		return nil, err
	}
	return u, nil
}

// merged is what the journal says of an upload, overridden by how to reach the
// store now.
func (h *history) merged(o Options) Options {
	m := o
	m.Place, m.Object = h.Place, h.Object
	override(&m.Endpoint, o.Endpoint)
	override(&m.Region, o.Region)
	override(&m.CAFile, o.CAFile)
	override(&m.Profile, o.Profile)
	m.Overwrite = h.Object.Overwrite || o.Overwrite
	return m
}

func override(s *string, with string) {
	if with != "" {
		*s = with
	}
}

// Unfinished is what a dead process left: an Upload or a Publication.
type Unfinished interface {
	Close(ctx context.Context) (*Result, error)
	Suspend() error
	Abort(ctx context.Context) error
	Stats() Stats
	Spool() string
}

// TakeUp is Open for whatever path holds.
func TakeUp(path string, o Options) (Unfinished, error) {
	sp, h, err := openSpool(path)
	if err != nil {
		return nil, err
	}
	if h.begin.Publish {
		return republish(sp, h, o)
	}
	u, err := opened(sp, h, o)
	if err != nil {
		sp.close()
		return nil, err
	}
	return u, nil
}

// Resume is TakeUp and Close.
func Resume(ctx context.Context, path string, o Options) (*Result, error) {
	u, err := TakeUp(path, o)
	if err != nil {
		return nil, err
	}
	return u.Close(ctx)
}

// findParts lists the parts that are on disk or in the journal. Those that only
// the journal has were sent.
func (u *Upload) findParts() error {
	sizes, err := u.sp.partSizes()
	if err != nil {
		return err
	}
	last := 0
	for n, size := range sizes {
		if size > 0 || n == 1 { // a part that was opened and got no byte is none
			last = max(last, n)
		}
	}
	for n := range u.resumed.parts {
		last = max(last, n)
	}
	for n := 1; n <= last; n++ {
		size, local := sizes[n]
		p := &part{n: n, size: size, local: local}
		if e, ok := u.resumed.parts[n]; ok {
			if !local {
				p.size, p.crc, p.known, p.etag = e.Size, e.CRC, true, e.ETag
			} else if e.Size == size {
				p.etag = e.ETag
			}
		}
		u.n.written += p.size
		u.n.spooled += size
		u.parts = append(u.parts, p)
	}
	u.n.spooledMost = u.n.spooled
	return nil
}

// reconcile compares what is here with what the store has, and queues only what
// it lacks. finished is true when the object is complete already.
func (u *Upload) reconcile() (finished bool, err error) {
	if u.resumed.aborting {
		return false, &Error{Kind: Stopped, Where: u.o.Place.String(), Msg: "this upload was being given up",
			Remedy: "end that with `mpipe upload --abort " + u.sp.dir + "`"}
	}
	have, err := u.listParts()
	if KindOf(err) == Gone {
		if finished, err = u.afterGone(err); finished || err != nil {
			return finished, err
		}
	} else if err != nil {
		return false, err
	}
	if asked := u.asked; u.known() == "" && !asked.IsZero() {
		if err := u.sweep(u.ctx, asked, ""); err != nil {
			u.log.Warn("there may be a multipart upload without an owner", "error", err)
		}
		u.setID("", time.Time{})
	}
	for _, p := range u.parts {
		if err := u.compare(p, have); err != nil {
			return false, err
		}
	}
	return false, nil
}

// compare decides whether a part is to be sent.
func (u *Upload) compare(p *part, have map[int]types.Part) error {
	there, ok := have[p.n]
	same := false
	if ok {
		var err error
		if same, err = u.same(p, there); err != nil {
			return err
		}
	}
	if _, noted := u.resumed.parts[p.n]; same && !noted {
		// Its file is about to go, and whoever takes this up next has to know.
		if err := u.sp.append(entry{Part: &partEntry{N: p.n, Size: p.size, CRC: p.crc, ETag: aws.ToString(there.ETag)}}); err != nil {
			return err
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case same:
		u.done(p, aws.ToString(there.ETag))
	case p.local:
		u.queue = append(u.queue, p)
	case u.id == "" && len(u.parts) == 1 && p.known: // sent whole, says the journal; verify looks
		u.done(p, "")
	default:
		return &Error{Kind: Gone, Where: u.o.Place.String(), Msg: fmt.Sprintf("part %d of %d is neither here nor in the store", p.n, len(u.parts)),
			Remedy: "the parts that are left are in " + u.sp.dir}
	}
	return nil
}

// same compares a part with the store's: by its checksum, or, where the store
// keeps none, by the ETag that it gave us or that is the MD5 of the bytes.
func (u *Upload) same(p *part, there types.Part) (bool, error) {
	etag := strings.Trim(aws.ToString(there.ETag), `"`)
	crc, hasCRC := parseChecksum(aws.ToString(there.ChecksumCRC32))
	if !p.local {
		if !p.known && aws.ToInt64(there.Size) == u.schedule.Size(p.n) { // the machine's end took the journal's line
			p.size, p.crc, p.known = aws.ToInt64(there.Size), crc, hasCRC
			return true, nil
		}
		return aws.ToInt64(there.Size) == p.size && (!hasCRC || crc == p.crc), nil
	}
	if aws.ToInt64(there.Size) != p.size {
		return false, nil
	}
	sum, md, err := u.sums(p)
	if err != nil {
		return false, err
	}
	p.crc, p.known = sum, true
	if hasCRC {
		return crc == sum, nil
	}
	return etag == md || etag != "" && etag == strings.Trim(p.etag, `"`), nil
}

// sums reads a part for its CRC32 and MD5.
func (u *Upload) sums(p *part) (uint32, string, error) {
	f, err := os.Open(u.pathOf(p))
	if err != nil {
		return 0, "", localError(u.pathOf(p), "a part cannot be read", errors.Unwrap(err))
	}
	defer f.Close()
	crc, md := crc32.NewIEEE(), md5.New()
	if err := readPart(f, p, io.MultiWriter(crc, md)); err != nil {
		return 0, "", err
	}
	return crc.Sum32(), hex.EncodeToString(md.Sum(nil)), nil
}

// listParts asks the store what it has.
func (u *Upload) listParts() (have map[int]types.Part, err error) {
	id := u.known()
	if id == "" {
		return nil, nil
	}
	err = u.st.do(u.ctx, "listing the parts", 0, func(ctx context.Context, a attempt) error {
		have = map[int]types.Part{}
		pages := s3.NewListPartsPaginator(a.client, &s3.ListPartsInput{Bucket: &u.o.Bucket, Key: &u.o.Key, UploadId: &id})
		for pages.HasMorePages() {
			a.beat()
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, p := range page.Parts {
				have[int(aws.ToInt32(p.PartNumber))] = p
			}
		}
		return nil
	})
	return have, err
}

// afterGone: the store knows no such upload, because it was completed or because
// somebody aborted it.
func (u *Upload) afterGone(gone error) (finished bool, err error) {
	if u.resumed.end != nil {
		if finished, err := u.settled(); finished || err != nil {
			return finished, err
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.parts {
		if !p.local {
			return false, &Error{Kind: Gone, Where: u.o.Place.String(), Msg: "the multipart upload was aborted after it had taken parts that are no longer here",
				Err: gone, Remedy: "the parts that are left are in " + u.sp.dir}
		}
	}
	u.id = ""
	return false, nil
}

// settled looks for the object for a while: a store may still be at work on what a
// process asked for before it died, and know neither the upload nor the object.
func (u *Upload) settled() (there bool, err error) {
	for end := time.Now().Add(settling); ; {
		there, err = u.isThere()
		if there || err != nil || time.Now().After(end) {
			return there, err
		}
		if err := u.st.pause(u.ctx, settling/20); err != nil {
			return false, err
		}
	}
}

const settling = 5 * time.Second

// isThere asks whether the key holds what this upload makes.
func (u *Upload) isThere() (there bool, err error) {
	for _, p := range u.parts {
		if p.known || !p.local {
			continue
		}
		if p.crc, _, err = u.sums(p); err != nil {
			return false, err
		}
		p.known = true
	}
	err = u.st.do(u.ctx, "looking for the object", 0, func(ctx context.Context, a attempt) error {
		h, err := u.head(ctx, a.client)
		if err == nil {
			there = u.made(h)
		} else if k := u.st.kindOf(err); k == Missing || k == Denied {
			err = nil
		}
		return err
	})
	return there, err
}
