/* mpipe_ring.hpp: mpipe_ring.h for C++17, with owners that clean up.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *   mpipe::Producer p("demo", {{"video", MPR_VIDEO, layout.size}}, "bot");
 *   uint32_t video = p.set_video(0, layout);
 *   mpipe::Writer w(p);                            // one for each thread
 *   if (mpipe::Slot s = w.claim(0, video, layout.size)) {
 *       draw(s.data());                            // aborted unless committed
 *       s.commit(mpr_now(), 0, MPR_KEY);
 *   }
 *
 * What has gone wrong is thrown as mpipe::Error, but for a full ring, which is
 * part of the business: claim gives an empty Slot then. Destructors do not throw.
 */
#ifndef MPIPE_RING_HPP
#define MPIPE_RING_HPP

#include "mpipe_ring.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace mpipe {

/* code() is one of MPR_STOPPED, MPR_GONE, MPR_ENDED, MPR_REFUSED, MPR_TIMEOUT,
 * MPR_WRONG and MPR_SYSTEM. */
class Error : public std::runtime_error {
public:
	Error(int code, const std::string &text) : std::runtime_error(text), code_(code) {}
	int code() const noexcept { return code_; }

private:
	int code_;
};

struct Stream {
	std::string name; /* letters, digits, '.', '_', '-'; at most 47 */
	int kind;         /* MPR_VIDEO or MPR_AUDIO */
	uint64_t max_frame; /* bytes of the largest frame it will ever carry */
};

struct Fill {
	uint64_t used, capacity; /* bytes */
	uint64_t held;           /* frames the consumer holds */
};

/* What the consumer has to say to a producer that could do with less. */
using Advice = mpr_advice;

/* Waits, in nanoseconds, besides deadlines. */
constexpr int64_t Drop = 0, Block = -1;

/* GStreamer's own layout; Error when mpr_video_layout does not know the fourcc. */
inline mpr_video video_layout(const char *fourcc, uint32_t width, uint32_t height, uint32_t fps_num = 0, uint32_t fps_den = 1)
{
	mpr_video v;
	if (mpr_video_layout(&v, fourcc, width, height, fps_num, fps_den) != MPR_OK)
		throw Error(MPR_WRONG, std::string("no layout is known for ") + fourcc);
	return v;
}

/* A process's end of a ring. Any thread may call it. It does not move: writers
 * point at it. */
class Producer {
public:
	/* Waits until a consumer takes it, at most timeout_ms, for ever when that is
	 * negative. address as in mpr_attach. */
	Producer(std::string address, std::vector<Stream> streams, std::string name = "c++", int timeout_ms = -1)
	    : address_(std::move(address)), name_(std::move(name)), streams_(std::move(streams))
	{
		attach(timeout_ms);
	}
	Producer(const Producer &) = delete;
	Producer &operator=(const Producer &) = delete;
	/* Ends all streams, as far as there are free slots, and detaches. */
	~Producer() { mpr_close(&p_); }

	/* Publishes a format and gives the id its frames carry. */
	uint32_t set_video(int stream, const mpr_video &v)
	{
		uint32_t id = 0;
		check("set_video", mpr_set_video(&p_, stream, &v, &id));
		return id;
	}
	uint32_t set_audio(int stream, const mpr_audio &a)
	{
		uint32_t id = 0;
		check("set_audio", mpr_set_audio(&p_, stream, &a, &id));
		return id;
	}

	/* Ends a stream behind what was committed; false when no slot came free in time. */
	bool end(int stream, int64_t wait_ns = Block)
	{
		int code = mpr_end_within(&p_, stream, wait_ns);
		if (code != MPR_FULL) check("end", code);
		return code == MPR_OK;
	}

	Fill fill(int kind)
	{
		Fill f{};
		if (kind == MPR_VIDEO || kind == MPR_AUDIO) mpr_fill(&p_, kind, &f.used, &f.capacity, &f.held);
		return f;
	}

	Advice advice()
	{
		Advice a;
		mpr_get_advice(&p_, &a);
		return a;
	}

	/* Has claim and end look for the next consumer by themselves: mpr_set_reattach. */
	void set_reattach(bool on) noexcept { mpr_set_reattach(&p_, on); }

	/* Leaves a consumer that is gone, has stopped or has replaced its ring for the next
	 * one at the address. Writers and format ids stay valid, streams that were ended are
	 * open again. Gives how many claims the consumer before had not used up. After an
	 * Error, call it again. */
	uint64_t reattach(int timeout_ms = -1)
	{
		uint64_t lost = 0;
		check("reattach", mpr_reattach(&p_, timeout_ms, &lost));
		return lost;
	}

	uint64_t epochs() const noexcept { return p_.epochs; } /* attachments so far */
	/* Frames that consumers before this one did not use up, or that found none. */
	uint64_t lost() const noexcept { return __atomic_load_n(&p_.lost, __ATOMIC_RELAXED); }
	const std::string &stream_name(int stream) const { return streams_.at(static_cast<size_t>(stream)).name; }
	mpr_producer *get() noexcept { return &p_; }

	/* Throws what a code of this producer says. */
	void check(const char *what, int code) const
	{
		if (code == MPR_OK) return;
		std::string text = std::string(what) + ": " + mpr_error(code);
		if ((code == MPR_WRONG || code == MPR_REFUSED || code == MPR_TIMEOUT || code == MPR_SYSTEM || code == MPR_GONE) && p_.reason[0])
			text += std::string(": ") + p_.reason;
		throw Error(code, text);
	}

private:
	void attach(int timeout_ms)
	{
		std::vector<mpr_stream> list; /* the names are kept by reference, in streams_ */
		for (const Stream &s : streams_) list.push_back({s.name.c_str(), s.kind, s.max_frame});
		check(address_.c_str(), mpr_attach(&p_, address_.c_str(), list.data(), static_cast<int>(list.size()), name_.c_str(), timeout_ms));
	}

	std::string address_, name_;
	std::vector<Stream> streams_;
	mpr_producer p_;
};

/* Claimed space; empty when the ring was full. Aborts unless committed. */
class Slot {
public:
	Slot() noexcept : s_() {}
	explicit Slot(const mpr_slot &s) noexcept : s_(s) {}
	Slot(Slot &&other) noexcept : s_(std::exchange(other.s_, mpr_slot())) {}
	Slot &operator=(Slot &&other) noexcept
	{
		if (this != &other) {
			abort();
			s_ = std::exchange(other.s_, mpr_slot());
		}
		return *this;
	}
	~Slot() { abort(); }

	explicit operator bool() const noexcept { return s_.w != nullptr; }
	uint8_t *data() const noexcept { return s_.data; }
	size_t size() const noexcept { return s_.size; }

	/* Publishes the frame; data is the consumer's from here on. Stamps are ns of
	 * CLOCK_MONOTONIC, duration 0 when unknown. Nothing, when it was finished. */
	void commit(int64_t pts, int64_t duration = 0, uint32_t flags = 0) noexcept
	{
		mpr_commit(&s_, pts, duration, flags);
		s_ = mpr_slot();
	}
	void abort() noexcept
	{
		mpr_abort(&s_);
		s_ = mpr_slot();
	}

private:
	mpr_slot s_;
};

/* A writer: one for each thread that claims, gone before its Producer is. Slots
 * point at it, so it moves without disturbing them. */
class Writer {
public:
	explicit Writer(Producer &p) : p_(&p), w_(new mpr_writer()) { p.check("writer", mpr_writer_open(p.get(), w_.get())); }

	/* Claims n bytes. wait_ns: Drop, Block or a deadline. An empty Slot when there was
	 * no room, which is counted. */
	Slot claim(int stream, uint32_t format, size_t n, int64_t wait_ns = Drop)
	{
		mpr_slot s;
		int code = mpr_claim(w_.get(), stream, format, n, wait_ns, &s);
		if (code == MPR_FULL) return Slot();
		p_->check("claim", code);
		return Slot(s);
	}
	/* Counts a frame that the program left out of its own will. */
	void drop_by_policy(int stream) noexcept { mpr_drop_by_policy(w_.get(), stream); }

private:
	struct Close {
		void operator()(mpr_writer *w) const noexcept
		{
			mpr_writer_close(w);
			delete w;
		}
	};

	Producer *p_;
	std::unique_ptr<mpr_writer, Close> w_;
};

} // namespace mpipe

#endif /* MPIPE_RING_HPP */
