/* values.h: JavaScript values in and out of C, and errors.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The functions that read a value clear *ok when it has another type or does not
 * fit, and leave it alone otherwise.
 */
#ifndef MPIPE_RING_VALUES_H
#define MPIPE_RING_VALUES_H

#include "mpipe_ring.h"

#include <math.h>
#include <node_api.h>

static inline const char *code_name(int code)
{
	static const char *const names[] = {"OK", "FULL", "STOPPED", "GONE", "ENDED", "REFUSED", "TIMEOUT", "WRONG", "SYSTEM"};
	return names[-code];
}

static inline napi_value make_error(napi_env env, const char *what, int code, const char *reason)
{
	char text[600], name[32];
	napi_value message, tag, error;
	snprintf(text, sizeof text, "%s: %s%s%s", what, mpr_error(code), reason && *reason ? ": " : "", reason ? reason : "");
	snprintf(name, sizeof name, "MPIPE_%s", code_name(code));
	napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message);
	napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &tag);
	napi_create_error(env, tag, message, &error);
	return error;
}

/* p's reason tells of WRONG, and of GONE after nonsense; other codes do not set it. */
static inline napi_value throw_code(napi_env env, const char *what, int code, const mpr_producer *p)
{
	napi_throw(env, make_error(env, what, code, (code == MPR_WRONG || code == MPR_GONE) && p ? p->reason : NULL));
	return NULL;
}

/* ---- arguments ----------------------------------------------------------- */

static inline int arguments(napi_env env, napi_callback_info info, napi_value *v, size_t want)
{
	size_t n = want;
	if (napi_get_cb_info(env, info, &n, v, NULL, NULL) == napi_ok && n >= want) return 1;
	napi_throw_type_error(env, NULL, "mpipe_ring: too few arguments");
	return 0;
}

static inline double number(napi_env env, napi_value v, int *ok)
{
	double d = 0;
	if (napi_get_value_double(env, v, &d) != napi_ok || isnan(d)) *ok = 0;
	return d;
}

static inline uint32_t whole(napi_env env, napi_value v, int *ok)
{
	double d = number(env, v, ok);
	if (*ok && (d < 0 || d > UINT32_MAX || d != floor(d))) *ok = 0;
	return *ok ? (uint32_t)d : 0;
}

static inline int64_t nanoseconds(napi_env env, napi_value v, int *ok)
{
	int64_t n = 0;
	bool lossless = false;
	if (napi_get_value_bigint_int64(env, v, &n, &lossless) != napi_ok || !lossless) *ok = 0;
	return n;
}

static inline void string(napi_env env, napi_value v, char *to, size_t size, int *ok)
{
	size_t n = 0;
	if (napi_get_value_string_utf8(env, v, NULL, 0, &n) != napi_ok || n >= size) *ok = 0;
	if (*ok) napi_get_value_string_utf8(env, v, to, size, &n);
}

static inline napi_value field(napi_env env, napi_value object, const char *name, int *ok)
{
	napi_value v = NULL;
	if (napi_get_named_property(env, object, name, &v) != napi_ok) *ok = 0;
	return v;
}

static inline uint32_t element(napi_env env, napi_value array, uint32_t i, int *ok)
{
	napi_value v;
	if (napi_get_element(env, array, i, &v) != napi_ok) *ok = 0;
	return *ok ? whole(env, v, ok) : 0;
}

static inline napi_value wrong(napi_env env)
{
	napi_throw_type_error(env, NULL, "mpipe_ring: an argument has the wrong type or is out of range");
	return NULL;
}

#endif /* MPIPE_RING_VALUES_H */
