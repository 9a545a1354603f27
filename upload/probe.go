package upload

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Probe finds out whether Start would succeed and leaves nothing behind: it
// looks for the key, begins a multipart upload for it, which needs what every
// part needs, and aborts that. Start does not need it.
//
// It does not ask for the bucket itself: credentials that may only write objects
// are refused that, and a missing bucket shows anyway.
func Probe(ctx context.Context, o Options) error {
	o, _, err := o.complete()
	if err != nil {
		return err
	}
	st, err := newStore(o)
	if err != nil {
		return err
	}
	defer st.close()
	u := newUpload(o, Schedule{}, st, nil, nil, time.Now())
	if err := st.ask(ctx, "asking for the key", u.isFree); err != nil {
		return err
	}
	var id string
	err = st.ask(ctx, "beginning a multipart upload", func(ctx context.Context, a attempt) error {
		out, err := a.client.CreateMultipartUpload(ctx, u.createInput())
		if err == nil {
			id = aws.ToString(out.UploadId)
		}
		return err
	})
	if err != nil {
		return err
	}
	// The upload is there, whether or not somebody still waits for this.
	err = st.ask(context.WithoutCancel(ctx), "aborting the multipart upload", func(ctx context.Context, a attempt) error {
		_, err := a.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &o.Bucket, Key: &o.Key, UploadId: &id})
		if st.kindOf(err) == Gone {
			return nil
		}
		return err
	})
	if e := (*Error)(nil); errors.As(err, &e) && e.Kind == Denied {
		e.Remedy = "allow these credentials s3:AbortMultipartUpload: without it what is given up stays in the store and is paid for"
	}
	return err
}
