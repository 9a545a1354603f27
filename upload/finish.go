package upload

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Result is a finished object.
type Result struct {
	Location string `json:"location"` // s3://bucket/key
	Size     int64  `json:"size"`
	Parts    int    `json:"parts"`
	ETag     string `json:"etag,omitempty"`
	Version  string `json:"version,omitempty"`
	CRC32    string `json:"crc32,omitempty"` // of all bytes, 8 hexadecimal digits; "" when not known
	// Verified is what the finished object was compared by, asked of the store
	// afterwards: "crc32", "etag" or "size"; "" when it may not be asked.
	Verified string `json:"verified"`
	// Nothing is true when a stream is taken up that died before its first byte:
	// no object is made, and its multipart upload is aborted.
	Nothing bool `json:"nothing,omitempty"`
}

// Close sends what is left, completes the object and asks the store whether it is
// what was written. The spool is removed only after that. When ctx ends, the
// store stays away for Options.GiveUp, or somebody has to act first, the error
// tells, and the spool holds what the store lacks.
func (u *Upload) Close(ctx context.Context) (*Result, error) {
	r, err := u.close(ctx)
	if err != nil {
		u.stop(err)
		u.sp.close()
		return nil, resumable(err, u.sp.dir)
	}
	u.stop(errClosed)
	if err := u.sp.remove(); err != nil {
		u.log.Warn("the object is complete, its spool stays", "error", err)
		u.sp.close()
	}
	u.log.Info("the object is complete", "size", r.Size, "parts", r.Parts, "verified", r.Verified)
	return r, nil
}

func (u *Upload) close(ctx context.Context) (*Result, error) {
	if err := u.endWriting(errClosed); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { u.interrupt(stoppedBy(ctx)) })
	defer stop()
	u.st.hurry()
	if u.resumed != nil {
		finished, err := u.reconcile()
		if finished {
			return u.verify(nil)
		}
		if err != nil {
			return nil, err
		}
		if u.nothing() {
			return &Result{Location: u.o.Place.String(), Nothing: true}, u.forgetAll(ctx)
		}
	}
	if err := u.markEnd(); err != nil {
		return nil, err
	}
	if u.resumed != nil {
		u.work()
	}
	for {
		if err := u.sent(); err != nil {
			return nil, err
		}
		id := u.known()
		if id == "" { // putWhole has done all
			return u.verify(nil)
		}
		out, err := u.completeUpload()
		if err == nil {
			return u.verify(out)
		}
		if !u.sendAgain(err, id) {
			return nil, err
		}
	}
}

// nothing is whether a stream's writer died before it had written a byte. That is
// no object: an empty one would only stand in the way.
func (u *Upload) nothing() bool {
	return u.resumed.end == nil && u.file == nil && u.Stats().Written == 0
}

// sendAgain answers the loss of the multipart upload when all was sent.
func (u *Upload) sendAgain(err error, id string) bool {
	u.workers.Wait() // all was sent: they have ended
	u.mu.Lock()
	again := u.beginAgain(err, id)
	u.mu.Unlock()
	if again {
		u.work()
	}
	return again
}

// markEnd journals that what is there is all. An object without bytes has one part
// without bytes.
func (u *Upload) markEnd() error {
	u.writing.Lock()
	defer u.writing.Unlock()
	u.mu.Lock()
	none := len(u.parts) == 0
	u.mu.Unlock()
	if none {
		err := u.newPart(1)
		if err == nil {
			err = u.cut()
		}
		if err != nil {
			return err
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.sp.append(entry{End: &endEntry{Size: u.n.written, Parts: len(u.parts)}}); err != nil {
		return err
	}
	u.whole = true
	u.change.Broadcast()
	return nil
}

func stoppedBy(ctx context.Context) error {
	return &Error{Kind: Stopped, Msg: "stopped before all was sent", Err: context.Cause(ctx)}
}

// interrupt ends sending from outside.
func (u *Upload) interrupt(why error) {
	u.cancel(why)
	u.mu.Lock()
	u.change.Broadcast()
	u.mu.Unlock()
}

// sent waits until the store has confirmed all parts.
func (u *Upload) sent() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		switch {
		case u.failed != nil:
			return u.failed
		case u.ctx.Err() != nil:
			return context.Cause(u.ctx)
		case u.allDone():
			return nil
		}
		u.change.Wait()
	}
}

// completeTime is how long a store may take to put an object together.
func completeTime(size int64) time.Duration {
	const bytesPerSecond = 50 << 20 // a store on one slow disk that copies the parts
	return 5*time.Minute + time.Duration(size/bytesPerSecond)*time.Second
}

func (u *Upload) completeUpload() (out *s3.CompleteMultipartUploadOutput, err error) {
	in := u.completeInput()
	err = u.st.do(u.ctx, "completing the object", max(u.o.Stall, completeTime(u.Stats().Written)), func(ctx context.Context, a attempt) error {
		out, err = a.client.CompleteMultipartUpload(ctx, in)
		if err == nil {
			return nil
		}
		e := u.st.classify("", err)
		if in.IfNoneMatch != nil && codeOf(e) == "NotImplemented" {
			u.log.Warn("the store cannot be told not to overwrite; the key was free at the start")
			in.IfNoneMatch = nil
			out, err = a.client.CompleteMultipartUpload(ctx, in)
		}
		// A try that was carried out unheard leaves exactly this.
		if (e.Kind == Gone || e.Kind == Exists) && u.isOurs(ctx, a.client) {
			out, err = nil, nil
		}
		return err
	})
	if KindOf(err) == Exists {
		return nil, u.inUse()
	}
	return out, err
}

func (u *Upload) completeInput() *s3.CompleteMultipartUploadInput {
	u.mu.Lock()
	defer u.mu.Unlock()
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &u.o.Bucket, Key: &u.o.Key, UploadId: aws.String(u.id), MultipartUpload: &types.CompletedMultipartUpload{},
	}
	if !u.o.Overwrite {
		in.IfNoneMatch = aws.String("*")
	}
	for _, p := range u.parts {
		c := types.CompletedPart{PartNumber: aws.Int32(int32(p.n)), ETag: aws.String(p.etag)}
		if !u.o.NoChecksum && p.known {
			c.ChecksumCRC32 = aws.String(checksum(p.crc))
		}
		in.MultipartUpload.Parts = append(in.MultipartUpload.Parts, c)
	}
	return in
}

// putWhole sends an object of one part.
func (u *Upload) putWhole(f *os.File, p *part) error {
	o := u.o.Object
	in := &s3.PutObjectInput{
		Bucket: &u.o.Bucket, Key: &u.o.Key, ContentLength: &p.size,
		ContentType: text(o.ContentType), CacheControl: text(o.CacheControl), Metadata: o.Metadata,
		StorageClass: types.StorageClass(o.StorageClass), ACL: types.ObjectCannedACL(o.ACL),
		ServerSideEncryption: types.ServerSideEncryption(o.SSE), SSEKMSKeyId: text(o.KMSKey), Tagging: text(o.tagging()),
	}
	if !o.NoChecksum {
		in.ChecksumCRC32, in.ChecksumAlgorithm = aws.String(checksum(p.crc)), types.ChecksumAlgorithmCrc32
	}
	if !o.Overwrite {
		in.IfNoneMatch = aws.String("*")
	}
	err := u.st.do(u.ctx, "sending the object", 0, func(ctx context.Context, a attempt) error {
		in.Body = newBody(f, p, a.beat)
		_, err := a.client.PutObject(ctx, in)
		if err == nil {
			return nil
		}
		err = u.st.verdict(ctx, err, func() error {
			_, err := a.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &u.o.Bucket, Prefix: &u.o.Key, MaxKeys: aws.Int32(1)})
			return err
		})
		switch e := u.st.classify("", err); {
		case (e.unsure || e.Kind == Exists) && u.isOurs(ctx, a.client):
			return nil
		case in.IfNoneMatch != nil && codeOf(e) == "NotImplemented":
			in.IfNoneMatch, in.Body = nil, newBody(f, p, a.beat)
			_, err = a.client.PutObject(ctx, in)
			return err
		}
		return u.notDamaged(f, p, err)
	})
	switch {
	case KindOf(err) == Exists:
		return u.inUse()
	case err != nil:
		return err
	}
	return u.confirmed(p, "", "")
}

// Suspend ends the upload and leaves a spool that can be resumed; all that was
// written is in it or in the store. It frees a Write that waits.
func (u *Upload) Suspend() error {
	u.stop(&Error{Kind: Stopped, Where: u.o.Place.String(), Msg: "the upload was suspended"})
	return u.sp.close()
}

// Abort gives the upload up: what the store has of it is deleted, and the spool.
// The spool stays when the store cannot be told, so that Abort can be called
// again on what Open gives.
func (u *Upload) Abort(ctx context.Context) error {
	u.stop(&Error{Kind: Stopped, Where: u.o.Place.String(), Msg: "the upload was given up"})
	err := u.abort(ctx)
	u.sp.close()
	return err
}

func (u *Upload) abort(ctx context.Context) error {
	now := time.Now()
	if err := u.sp.append(entry{Abort: &now}); err != nil {
		return err
	}
	u.st.hurry()
	defer u.st.close()
	if err := u.forgetAll(ctx); err != nil {
		return &Error{Kind: KindOf(err), Where: u.o.Place.String(), Msg: "giving up", Err: err, Spool: u.sp.dir,
			Remedy: "what the store has of it stays until `mpipe upload --abort " + u.sp.dir + "`"}
	}
	return u.sp.remove()
}

// forgetAll leaves nothing of this upload in the store.
func (u *Upload) forgetAll(ctx context.Context) error {
	u.mu.Lock()
	id, asked := u.id, u.asked
	u.mu.Unlock()
	switch {
	case id != "":
		return u.forget(ctx, id)
	case !asked.IsZero():
		return u.sweep(ctx, asked, "")
	}
	return nil
}

// forget aborts the multipart upload until the store knows nothing of it: a part
// that was under way may arrive after the first time. Some stores never say that
// they know nothing.
func (u *Upload) forget(ctx context.Context, id string) error {
	for range 3 {
		err := u.st.do(ctx, "aborting the multipart upload", 0, func(ctx context.Context, a attempt) error {
			_, err := a.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.o.Bucket, Key: &u.o.Key, UploadId: &id})
			return err
		})
		if KindOf(err) == Gone {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
