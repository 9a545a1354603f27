/* addon.c: mpipe_ring.h for Node.js. index.js is what programs call; this
 * checks the types of its arguments but leaves comfort to it.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * An attachment belongs to the JavaScript thread that made it and has one
 * writer. A claimed slot is known by a number; its ArrayBuffer lies over the
 * ring itself where the engine allows that, and is detached when the slot is
 * finished, so that nothing written later reaches the ring. Where external
 * buffers are not allowed (Electron's memory cage) it is an ordinary one, copied at
 * the commit.
 */
#include "values.h"

typedef struct slot {
	struct slot *next;
	uint32_t id;
	mpr_slot s;
	napi_ref buffer;
	int copied; /* the ArrayBuffer is not the ring */
} slot;

typedef struct {
	mpr_producer p;
	mpr_writer w;
	char names[MPR_STREAMS][48];
	slot *open;
	uint32_t last_id;
	int busy; /* a reattach is on its way in another thread: only it may touch the rest */
} attachment;

/* What attach needs on its way through another thread. */
typedef struct {
	attachment *a;
	mpr_stream streams[MPR_STREAMS];
	int count, timeout_ms, code;
	char address[4096], name[64];
	napi_async_work work;
	napi_deferred deferred;
} attaching;

/* The attachment, or NULL and an exception when it is closed. */
static attachment *attached(napi_env env, napi_value v)
{
	void *a = NULL;
	if (napi_get_value_external(env, v, &a) != napi_ok || a == NULL)
		wrong(env);
	else if (((attachment *)a)->p.at == NULL || ((attachment *)a)->busy)
		throw_code(env, "mpipe_ring", MPR_GONE, NULL), a = NULL;
	return (attachment *)a;
}

/* Milliseconds, Infinity for ever, into mpr_claim's wait. */
static int64_t wait_ns(double ms) { return ms >= 1e12 ? -1 : ms <= 0 ? 0 : (int64_t)(ms * 1e6); }

static napi_value result(napi_env env, double d)
{
	napi_value v;
	napi_create_double(env, d, &v);
	return v;
}

/* ---- slots --------------------------------------------------------------- */

static void detach(napi_env env, slot *s)
{
	napi_value buffer = NULL;
	if (napi_get_reference_value(env, s->buffer, &buffer) == napi_ok && buffer) napi_detach_arraybuffer(env, buffer);
	napi_delete_reference(env, s->buffer);
}

static void drop(napi_env env, attachment *a, slot *s)
{
	slot **at = &a->open;
	while (*at != s) at = &(*at)->next;
	*at = s->next;
	detach(env, s);
	free(s);
}

static void close_attachment(napi_env env, attachment *a)
{
	napi_handle_scope scope;
	if (a->p.at == NULL) return;
	napi_open_handle_scope(env, &scope);
	while (a->open) {
		mpr_abort(&a->open->s);
		drop(env, a, a->open);
	}
	napi_close_handle_scope(env, scope);
	mpr_writer_close(&a->w);
	mpr_close(&a->p);
}

static void collected(napi_env env, void *data, void *hint)
{
	(void)hint;
	close_attachment(env, (attachment *)data);
	free(data);
}

static slot *find(napi_env env, attachment *a, napi_value id)
{
	int ok = 1;
	uint32_t want = whole(env, id, &ok);
	slot *s = a->open;
	while (s && s->id != want) s = s->next;
	return ok ? s : NULL;
}

/* claim(attachment, stream, format, size, waitMs) -> [id, ArrayBuffer], or null
 * when there is no room. */
static napi_value js_claim(napi_env env, napi_callback_info info)
{
	napi_value v[5], buffer, id, pair;
	attachment *a;
	slot *s;
	void *data;
	int ok = 1, code;
	if (!arguments(env, info, v, 5) || !(a = attached(env, v[0]))) return NULL;
	uint32_t stream = whole(env, v[1], &ok), format = whole(env, v[2], &ok), size = whole(env, v[3], &ok);
	double ms = number(env, v[4], &ok);
	if (!ok || stream > MPR_STREAMS) return wrong(env);
	if (!(s = (slot *)calloc(1, sizeof *s))) return throw_code(env, "claim", MPR_SYSTEM, NULL);
	code = mpr_claim(&a->w, (int)stream, format, size, wait_ns(ms), &s->s);
	if (code != MPR_OK) {
		free(s);
		if (code != MPR_FULL) return throw_code(env, "claim", code, &a->p);
		napi_get_null(env, &v[0]);
		return v[0];
	}
	if (napi_create_external_arraybuffer(env, s->s.data, s->s.size, NULL, NULL, &buffer) != napi_ok) {
		s->copied = 1;
		ok = napi_create_arraybuffer(env, size, &data, &buffer) == napi_ok;
	}
	if (!ok || napi_create_reference(env, buffer, 1, &s->buffer) != napi_ok) {
		mpr_abort(&s->s);
		free(s);
		return throw_code(env, "claim", MPR_SYSTEM, NULL);
	}
	s->id = ++a->last_id;
	s->next = a->open;
	a->open = s;
	napi_create_uint32(env, s->id, &id);
	napi_create_array_with_length(env, 2, &pair);
	napi_set_element(env, pair, 0, id);
	napi_set_element(env, pair, 1, buffer);
	return pair;
}

/* commit(attachment, id, pts, duration, flags): nothing, when it was finished. */
static napi_value js_commit(napi_env env, napi_callback_info info)
{
	napi_value v[5], buffer;
	attachment *a;
	slot *s;
	int ok = 1;
	if (!arguments(env, info, v, 5) || !(a = attached(env, v[0]))) return NULL;
	int64_t pts = nanoseconds(env, v[2], &ok), duration = nanoseconds(env, v[3], &ok);
	uint32_t flags = whole(env, v[4], &ok);
	if (!ok || pts < 0 || duration < 0 || flags > 7) return wrong(env);
	if (!(s = find(env, a, v[1]))) return NULL;
	if (s->copied) {
		void *data = NULL;
		size_t size = 0;
		napi_get_reference_value(env, s->buffer, &buffer);
		napi_get_arraybuffer_info(env, buffer, &data, &size);
		if (size != s->s.size) return wrong(env); /* it was transferred away */
		memcpy(s->s.data, data, size);
	}
	mpr_slot claimed = s->s;
	drop(env, a, s); /* detached first: what comes later is not in the frame */
	mpr_commit(&claimed, pts, duration, flags);
	return NULL;
}

static napi_value js_abort(napi_env env, napi_callback_info info)
{
	napi_value v[2];
	attachment *a;
	slot *s;
	if (!arguments(env, info, v, 2) || !(a = attached(env, v[0])) || !(s = find(env, a, v[1]))) return NULL;
	mpr_slot claimed = s->s;
	drop(env, a, s);
	mpr_abort(&claimed);
	return NULL;
}

/* write(attachment, stream, format, Uint8Array, pts, duration, flags, waitMs) ->
 * whether there was room. One copy. */
static napi_value js_write(napi_env env, napi_callback_info info)
{
	napi_value v[8];
	attachment *a;
	mpr_slot s;
	void *data = NULL;
	size_t size = 0;
	napi_typedarray_type type;
	int ok = 1, code;
	if (!arguments(env, info, v, 8) || !(a = attached(env, v[0]))) return NULL;
	uint32_t stream = whole(env, v[1], &ok), format = whole(env, v[2], &ok), flags = whole(env, v[6], &ok);
	int64_t pts = nanoseconds(env, v[4], &ok), duration = nanoseconds(env, v[5], &ok);
	double ms = number(env, v[7], &ok);
	if (!ok || stream > MPR_STREAMS || pts < 0 || duration < 0 || flags > 7 ||
	    napi_get_typedarray_info(env, v[3], &type, &size, &data, NULL, NULL) != napi_ok || type != napi_uint8_array)
		return wrong(env);
	code = mpr_claim(&a->w, (int)stream, format, size, wait_ns(ms), &s);
	if (code != MPR_OK && code != MPR_FULL) return throw_code(env, "write", code, &a->p);
	if (code == MPR_OK) {
		memcpy(s.data, data, size);
		mpr_commit(&s, pts, duration, flags);
	}
	napi_get_boolean(env, code == MPR_OK, &v[0]);
	return v[0];
}

static napi_value js_drop_by_policy(napi_env env, napi_callback_info info)
{
	napi_value v[2];
	attachment *a;
	int ok = 1;
	if (!arguments(env, info, v, 2) || !(a = attached(env, v[0]))) return NULL;
	uint32_t stream = whole(env, v[1], &ok);
	if (!ok || stream >= (uint32_t)a->p.count) return wrong(env);
	mpr_drop_by_policy(&a->w, (int)stream);
	return NULL;
}

/* ---- formats ------------------------------------------------------------- */

/* layout(fourcc, width, height) -> {strides, offsets, size} */
static napi_value js_layout(napi_env env, napi_callback_info info)
{
	napi_value v[3], out, strides, offsets;
	mpr_video f;
	char fourcc[32] = "";
	int ok = 1;
	if (!arguments(env, info, v, 3)) return NULL;
	string(env, v[0], fourcc, sizeof fourcc, &ok);
	uint32_t width = whole(env, v[1], &ok), height = whole(env, v[2], &ok);
	if (!ok || width > 65536 || height > 65536 || mpr_video_layout(&f, fourcc, width, height, 0, 1) != MPR_OK) return wrong(env);
	napi_create_object(env, &out);
	napi_create_array(env, &strides);
	napi_create_array(env, &offsets);
	for (uint32_t i = 0; i < f.planes; i++) {
		napi_set_element(env, strides, i, result(env, f.strides[i]));
		napi_set_element(env, offsets, i, result(env, (double)f.offsets[i]));
	}
	napi_set_named_property(env, out, "strides", strides);
	napi_set_named_property(env, out, "offsets", offsets);
	napi_set_named_property(env, out, "size", result(env, (double)f.size));
	return out;
}

/* setVideo(attachment, stream, {fourcc, width, height, strides, offsets, size,
 * fpsNum, fpsDen, colorimetry, chromaSite}) -> id */
static napi_value js_set_video(napi_env env, napi_callback_info info)
{
	napi_value v[3], strides, offsets;
	attachment *a;
	mpr_video f;
	uint32_t id;
	int ok = 1, code;
	if (!arguments(env, info, v, 3) || !(a = attached(env, v[0]))) return NULL;
	memset(&f, 0, sizeof f);
	uint32_t stream = whole(env, v[1], &ok);
	string(env, field(env, v[2], "fourcc", &ok), f.fourcc, sizeof f.fourcc, &ok);
	string(env, field(env, v[2], "colorimetry", &ok), f.colorimetry, sizeof f.colorimetry, &ok);
	string(env, field(env, v[2], "chromaSite", &ok), f.chroma_site, sizeof f.chroma_site, &ok);
	f.width = whole(env, field(env, v[2], "width", &ok), &ok);
	f.height = whole(env, field(env, v[2], "height", &ok), &ok);
	f.size = whole(env, field(env, v[2], "size", &ok), &ok);
	f.fps_num = whole(env, field(env, v[2], "fpsNum", &ok), &ok);
	f.fps_den = whole(env, field(env, v[2], "fpsDen", &ok), &ok);
	strides = field(env, v[2], "strides", &ok);
	offsets = field(env, v[2], "offsets", &ok);
	if (!ok || napi_get_array_length(env, strides, &f.planes) != napi_ok || f.planes > 4 || stream > MPR_STREAMS) return wrong(env);
	for (uint32_t i = 0; i < f.planes; i++) {
		f.strides[i] = element(env, strides, i, &ok);
		f.offsets[i] = element(env, offsets, i, &ok);
	}
	if (!ok) return wrong(env);
	code = mpr_set_video(&a->p, (int)stream, &f, &id);
	return code == MPR_OK ? result(env, id) : throw_code(env, "setVideo", code, &a->p);
}

/* setAudio(attachment, stream, sample, rate, channels, mask) -> id */
static napi_value js_set_audio(napi_env env, napi_callback_info info)
{
	napi_value v[6];
	attachment *a;
	mpr_audio f;
	uint32_t id;
	int ok = 1, code;
	if (!arguments(env, info, v, 6) || !(a = attached(env, v[0]))) return NULL;
	memset(&f, 0, sizeof f);
	uint32_t stream = whole(env, v[1], &ok);
	string(env, v[2], f.sample, sizeof f.sample, &ok);
	f.rate = whole(env, v[3], &ok);
	f.channels = whole(env, v[4], &ok);
	f.mask = (uint64_t)nanoseconds(env, v[5], &ok); /* a BigInt as well */
	if (!ok || stream > MPR_STREAMS) return wrong(env);
	code = mpr_set_audio(&a->p, (int)stream, &f, &id);
	return code == MPR_OK ? result(env, id) : throw_code(env, "setAudio", code, &a->p);
}

/* ---- attaching and ending ------------------------------------------------ */

static void attach_elsewhere(napi_env env, void *data)
{
	attaching *t = (attaching *)data;
	(void)env;
	t->code = mpr_attach(&t->a->p, t->address, t->streams, t->count, t->name, t->timeout_ms);
}

static void attach_done(napi_env env, napi_status status, void *data)
{
	attaching *t = (attaching *)data;
	napi_value v;
	if (status != napi_ok) t->code = MPR_SYSTEM;
	if (t->code == MPR_OK) {
		t->code = mpr_writer_open(&t->a->p, &t->a->w);
		if (t->code != MPR_OK) mpr_close(&t->a->p);
	}
	if (t->code == MPR_OK && napi_create_external(env, t->a, collected, NULL, &v) == napi_ok) {
		napi_resolve_deferred(env, t->deferred, v);
	} else {
		napi_reject_deferred(env, t->deferred, make_error(env, t->address, t->code, t->a->p.reason));
		free(t->a);
	}
	napi_delete_async_work(env, t->work);
	free(t);
}

static int read_streams(napi_env env, napi_value list, attaching *t)
{
	uint32_t n = 0;
	int ok = 1;
	if (napi_get_array_length(env, list, &n) != napi_ok || n < 1 || n > MPR_STREAMS) return 0;
	for (uint32_t i = 0; i < n && ok; i++) {
		napi_value s;
		napi_get_element(env, list, i, &s);
		string(env, field(env, s, "name", &ok), t->a->names[i], sizeof t->a->names[i], &ok);
		t->streams[i].name = t->a->names[i];
		t->streams[i].kind = (int)whole(env, field(env, s, "kind", &ok), &ok);
		t->streams[i].max_frame = whole(env, field(env, s, "maxFrame", &ok), &ok);
	}
	t->count = (int)n;
	return ok;
}

/* attach(address, [{name, kind, maxFrame}], name, timeoutMs) -> Promise */
static napi_value js_attach(napi_env env, napi_callback_info info)
{
	napi_value v[4], promise, label;
	int ok = 1;
	double ms;
	attaching *t;
	if (!arguments(env, info, v, 4)) return NULL;
	t = (attaching *)calloc(1, sizeof *t);
	if (t) t->a = (attachment *)calloc(1, sizeof *t->a);
	if (!t || !t->a) {
		free(t);
		return throw_code(env, "attach", MPR_SYSTEM, NULL);
	}
	string(env, v[0], t->address, sizeof t->address, &ok);
	string(env, v[2], t->name, sizeof t->name, &ok);
	ms = number(env, v[3], &ok);
	t->timeout_ms = ms >= INT32_MAX ? -1 : ms < 0 ? 0 : (int)ms;
	if (!ok || !read_streams(env, v[1], t)) {
		free(t->a);
		free(t);
		return wrong(env);
	}
	napi_create_promise(env, &t->deferred, &promise);
	napi_create_string_utf8(env, "mpipe_ring attach", NAPI_AUTO_LENGTH, &label);
	napi_create_async_work(env, NULL, label, attach_elsewhere, attach_done, t, &t->work);
	napi_queue_async_work(env, t->work);
	return promise;
}

/* What reattach needs on its way through another thread. */
typedef struct {
	attachment *a;
	napi_ref handle; /* so that it is not collected meanwhile */
	int timeout_ms, code;
	uint64_t lost;
	napi_async_work work;
	napi_deferred deferred;
} reattaching;

static void reattach_elsewhere(napi_env env, void *data)
{
	reattaching *t = (reattaching *)data;
	(void)env;
	t->code = mpr_reattach(&t->a->p, t->timeout_ms, &t->lost);
}

static void reattach_done(napi_env env, napi_status status, void *data)
{
	reattaching *t = (reattaching *)data;
	if (status != napi_ok) t->code = MPR_SYSTEM;
	t->a->busy = 0;
	if (t->code == MPR_OK)
		napi_resolve_deferred(env, t->deferred, result(env, (double)t->lost));
	else
		napi_reject_deferred(env, t->deferred, make_error(env, "reattach", t->code, t->a->p.reason));
	napi_delete_reference(env, t->handle);
	napi_delete_async_work(env, t->work);
	free(t);
}

/* reattach(attachment, timeoutMs) -> Promise of the number of frames lost. Aborts
 * what is open. */
static napi_value js_reattach(napi_env env, napi_callback_info info)
{
	napi_value v[2], promise, label;
	attachment *a;
	reattaching *t;
	int ok = 1;
	if (!arguments(env, info, v, 2) || !(a = attached(env, v[0]))) return NULL;
	double ms = number(env, v[1], &ok);
	if (!ok || a->busy) return wrong(env);
	t = (reattaching *)calloc(1, sizeof *t);
	if (!t) return throw_code(env, "reattach", MPR_SYSTEM, NULL);
	while (a->open) {
		mpr_slot claimed = a->open->s;
		drop(env, a, a->open);
		mpr_abort(&claimed);
	}
	t->a = a;
	t->timeout_ms = ms >= INT32_MAX ? -1 : ms < 0 ? 0 : (int)ms;
	a->busy = 1;
	napi_create_reference(env, v[0], 1, &t->handle);
	napi_create_promise(env, &t->deferred, &promise);
	napi_create_string_utf8(env, "mpipe_ring reattach", NAPI_AUTO_LENGTH, &label);
	napi_create_async_work(env, NULL, label, reattach_elsewhere, reattach_done, t, &t->work);
	napi_queue_async_work(env, t->work);
	return promise;
}

static napi_value js_end(napi_env env, napi_callback_info info)
{
	napi_value v[3];
	attachment *a;
	int ok = 1, code;
	if (!arguments(env, info, v, 3) || !(a = attached(env, v[0]))) return NULL;
	uint32_t stream = whole(env, v[1], &ok);
	double ms = number(env, v[2], &ok);
	if (!ok || stream > MPR_STREAMS) return wrong(env);
	code = mpr_end_within(&a->p, (int)stream, wait_ns(ms));
	if (code != MPR_OK && code != MPR_FULL) return throw_code(env, "end", code, &a->p);
	napi_get_boolean(env, code == MPR_OK, &v[0]);
	return v[0];
}

static napi_value js_close(napi_env env, napi_callback_info info)
{
	napi_value v[1];
	void *a = NULL;
	if (!arguments(env, info, v, 1)) return NULL;
	if (napi_get_value_external(env, v[0], &a) != napi_ok || !a || ((attachment *)a)->busy) return wrong(env);
	close_attachment(env, (attachment *)a);
	return NULL;
}

/* fill(attachment, kind) -> [used, capacity, held] */
static napi_value js_fill(napi_env env, napi_callback_info info)
{
	napi_value v[2], out;
	attachment *a;
	uint64_t used, capacity, held;
	int ok = 1;
	if (!arguments(env, info, v, 2) || !(a = attached(env, v[0]))) return NULL;
	uint32_t kind = whole(env, v[1], &ok);
	if (!ok || kind < MPR_VIDEO || kind > MPR_AUDIO) return wrong(env);
	mpr_fill(&a->p, (int)kind, &used, &capacity, &held);
	double numbers[] = {(double)used, (double)capacity, (double)held};
	napi_create_array(env, &out);
	for (uint32_t i = 0; i < sizeof numbers / sizeof *numbers; i++) napi_set_element(env, out, i, result(env, numbers[i]));
	return out;
}

/* advice(attachment) -> [numerator, denominator, milliseconds held, holder] */
static napi_value js_advice(napi_env env, napi_callback_info info)
{
	napi_value v[1], out, holder;
	attachment *a;
	mpr_advice advice;
	if (!arguments(env, info, v, 1) || !(a = attached(env, v[0]))) return NULL;
	mpr_get_advice(&a->p, &advice);
	napi_create_array(env, &out);
	napi_set_element(env, out, 0, result(env, advice.fps_num));
	napi_set_element(env, out, 1, result(env, advice.fps_den));
	napi_set_element(env, out, 2, result(env, (double)advice.held_ns / 1e6));
	napi_create_string_utf8(env, advice.holder, NAPI_AUTO_LENGTH, &holder);
	napi_set_element(env, out, 3, holder);
	return out;
}

/* counts(attachment) -> [frames lost, attachments so far] */
static napi_value js_counts(napi_env env, napi_callback_info info)
{
	napi_value v[1], out;
	void *a = NULL;
	if (!arguments(env, info, v, 1)) return NULL;
	if (napi_get_value_external(env, v[0], &a) != napi_ok || !a) return wrong(env);
	const mpr_producer *p = &((attachment *)a)->p;
	napi_create_array(env, &out);
	napi_set_element(env, out, 0, result(env, (double)__atomic_load_n(&p->lost, __ATOMIC_RELAXED)));
	napi_set_element(env, out, 1, result(env, (double)p->epochs));
	return out;
}

static napi_value js_now(napi_env env, napi_callback_info info)
{
	napi_value v;
	(void)info;
	napi_create_bigint_int64(env, mpr_now(), &v);
	return v;
}

NAPI_MODULE_INIT()
{
	static const struct {
		const char *name;
		napi_callback f;
	} functions[] = {{"attach", js_attach}, {"layout", js_layout}, {"setVideo", js_set_video}, {"setAudio", js_set_audio},
	                 {"claim", js_claim}, {"commit", js_commit}, {"abort", js_abort}, {"write", js_write},
	                 {"dropByPolicy", js_drop_by_policy}, {"fill", js_fill}, {"advice", js_advice}, {"counts", js_counts}, {"reattach", js_reattach}, {"end", js_end}, {"close", js_close}, {"now", js_now}};
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		napi_value f;
		napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].f, NULL, &f);
		napi_set_named_property(env, exports, functions[i].name, f);
	}
	return exports;
}
