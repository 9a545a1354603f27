package upload

import (
	"context"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Fetch writes the object at the place of o to w, for whoever wants to see
// himself that it is whole. Of o, what says how to reach the store counts. It
// asks again only until the first byte came.
func Fetch(ctx context.Context, o Options, w io.Writer) error {
	o, _, err := o.complete()
	if err != nil {
		return err
	}
	st, err := newStore(o)
	if err != nil {
		return err
	}
	defer st.close()
	var body io.ReadCloser
	err = st.ask(ctx, "asking for the object", func(_ context.Context, a attempt) error {
		// The body outlives the attempt, whose context ends with it.
		out, err := a.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key})
		if err == nil {
			body = out.Body
		}
		return err
	})
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(w, body); err != nil {
		return &Error{Kind: Away, Where: o.Place.String(), Msg: "reading the object back broke off", Err: err}
	}
	return nil
}
