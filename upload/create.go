package upload

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// open asks for the multipart upload before a start: once, without patience.
func (u *Upload) open(ctx context.Context) error {
	if err := u.st.ask(ctx, "asking for the key", u.isFree); err != nil {
		return err
	}
	return u.create(func(f func(context.Context, attempt) error) error {
		return u.st.ask(ctx, "beginning a multipart upload", f)
	})
}

// created makes the multipart upload if there is none.
func (u *Upload) created(ctx context.Context) error {
	u.creating.Lock()
	defer u.creating.Unlock()
	if u.known() != "" {
		return nil
	}
	return u.create(func(f func(context.Context, attempt) error) error {
		return u.st.do(ctx, "beginning a multipart upload", 0, f)
	})
}

// isFree refuses a key in use. A store that does not let these credentials look
// is asked again at the end, by the condition that goes with the object.
func (u *Upload) isFree(ctx context.Context, a attempt) error {
	if u.o.Overwrite {
		return nil
	}
	_, err := a.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.o.Bucket, Key: &u.o.Key})
	if err == nil {
		return u.inUse()
	}
	if u.st.kindOf(err) == Away {
		return err
	}
	return nil // answers to HEAD give no reason: what is wrong shows when the upload begins
}

func (u *Upload) inUse() *Error {
	return &Error{Kind: Exists, Where: u.o.Place.String(), Msg: "there is an object already", Remedy: remedies["PreconditionFailed"]}
}

// create asks for a multipart upload by way of do, and journals before and after:
// whoever takes up this spool knows of every upload that the store may have made.
func (u *Upload) create(do func(func(context.Context, attempt) error) error) error {
	now := time.Now()
	u.mu.Lock()
	unsure := !u.asked.IsZero()
	if !unsure {
		u.asked = now
	}
	first := u.asked
	u.mu.Unlock()
	if err := u.sp.append(entry{Creating: &now}); err != nil {
		return err
	}
	var id string
	err := do(func(ctx context.Context, a attempt) error {
		unsure = unsure || a.unsure
		out, err := a.client.CreateMultipartUpload(ctx, u.createInput())
		if err == nil {
			id = aws.ToString(out.UploadId)
		}
		if err == nil && id == "" {
			return errors.New("the store gave no upload id")
		}
		return err
	})
	if err != nil {
		if e := (*Error)(nil); errors.As(err, &e) && e.Kind != Stopped && !e.unsure && !unsure {
			u.setID("", time.Time{}) // the store has refused: there is none
		}
		return err
	}
	if unsure {
		if err := u.sweep(u.ctx, first, id); err != nil {
			u.log.Warn("there may be a multipart upload without an owner", "error", err)
		}
	}
	if err := u.sp.append(entry{Upload: id}); err != nil {
		return err
	}
	u.setID(id, time.Time{})
	u.sp.sync()
	u.log.Debug("a multipart upload has begun", "upload", id)
	return nil
}

func (u *Upload) setID(id string, asked time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.id, u.asked = id, asked
}

func (u *Upload) createInput() *s3.CreateMultipartUploadInput {
	o := u.o.Object
	in := &s3.CreateMultipartUploadInput{
		Bucket: &u.o.Bucket, Key: &u.o.Key,
		ContentType: text(o.ContentType), CacheControl: text(o.CacheControl), Metadata: o.Metadata,
		StorageClass: types.StorageClass(o.StorageClass), ACL: types.ObjectCannedACL(o.ACL),
		ServerSideEncryption: types.ServerSideEncryption(o.SSE), SSEKMSKeyId: text(o.KMSKey), Tagging: text(o.tagging()),
	}
	if !o.NoChecksum {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32
	}
	return in
}

// tagging is the form of the x-amz-tagging header: a query string.
func (o Object) tagging() string {
	v := url.Values{}
	for _, k := range slices.Sorted(maps.Keys(o.Tags)) {
		v.Set(k, o.Tags[k])
	}
	return v.Encode()
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// clockSkew is by how much the store's clock may be behind ours.
const clockSkew = 5 * time.Minute

// sweep aborts uploads that the store made for this key, since we asked for the
// first, without our hearing of it. They are told from others by having no parts.
// Should one belong to somebody who has just begun to write the same object, they
// still have all bytes and begin again.
func (u *Upload) sweep(ctx context.Context, since time.Time, keep string) error {
	return u.st.ask(ctx, "looking for uploads without an owner", func(ctx context.Context, a attempt) error {
		pages := s3.NewListMultipartUploadsPaginator(a.client, &s3.ListMultipartUploadsInput{Bucket: &u.o.Bucket, Prefix: &u.o.Key})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, m := range page.Uploads {
				id := aws.ToString(m.UploadId)
				if aws.ToString(m.Key) != u.o.Key || id == keep || m.Initiated != nil && m.Initiated.Before(since.Add(-clockSkew)) {
					continue
				}
				if err := u.abortEmpty(ctx, a.client, id); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (u *Upload) abortEmpty(ctx context.Context, c *s3.Client, id string) error {
	l, err := c.ListParts(ctx, &s3.ListPartsInput{Bucket: &u.o.Bucket, Key: &u.o.Key, UploadId: &id, MaxParts: aws.Int32(1)})
	if err == nil && len(l.Parts) == 0 {
		_, err = c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.o.Bucket, Key: &u.o.Key, UploadId: &id})
		u.log.Info("aborted a multipart upload that nobody had heard of", "upload", id)
	}
	if u.st.kindOf(err) == Gone {
		return nil
	}
	return err
}
