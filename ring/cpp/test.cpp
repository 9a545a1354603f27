/* test.cpp: policies, owners, the end and reattaching against the reader in
 * ../langs_test.go, which acts on the lines this prints and answers when it listens
 * again. The arena holds 64 KiB of video.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "mpipe_ring.hpp"

#include <cstring>
#include <iostream>

#define CHECK(cond)                                                              \
	do {                                                                         \
		if (!(cond)) throw std::logic_error("line " + std::to_string(__LINE__) + ": " #cond); \
	} while (0)

template <typename F> static int code_of(F f)
{
	try {
		f();
	} catch (const mpipe::Error &e) {
		return e.code();
	}
	return MPR_OK;
}

static void say(const char *text) { std::cout << text << std::endl; }

static void run(const std::string &address)
{
	mpr_video grey = mpipe::video_layout("BGRA", 64, 48);
	CHECK(grey.size == 12288 && code_of([] { mpipe::video_layout("none", 1, 1); }) == MPR_WRONG);
	CHECK(code_of([] { mpipe::Producer("unix:/nowhere/at/all", {{"v", MPR_VIDEO, 9}}, "test", 30); }) == MPR_TIMEOUT);

	mpipe::Producer p(address, {{"v", MPR_VIDEO, grey.size}}, "test", 10000);
	uint32_t video = p.set_video(0, grey);
	CHECK(p.set_video(0, grey) == video && p.set_video(0, mpipe::video_layout("RGBA", 64, 48)) == video + 1);
	CHECK(code_of([&] { p.set_audio(0, mpr_audio{"S16LE", 48000, 2, 0}); }) == MPR_WRONG);
	auto write = [&](mpipe::Writer &w, int64_t n, int64_t wait, int64_t duration, uint32_t flags) {
		mpipe::Slot s = w.claim(0, video, grey.size, wait);
		if (!s) return false;
		std::memset(s.data(), static_cast<int>(n), s.size());
		s.commit(n * 1000, duration, flags);
		CHECK(!s && s.data() == nullptr);
		return true;
	};
	mpipe::Writer w(p);
	CHECK(code_of([&] { w.claim(0, video, grey.size + 1); }) == MPR_WRONG);
	{
		mpipe::Slot gone = w.claim(0, video, grey.size), moved = std::move(gone);
		CHECK(!gone && moved);
	} /* aborts, once */
	CHECK(write(w, 1, mpipe::Drop, 5, MPR_KEY | MPR_DISCONT));
	mpipe::Writer other = std::move(w);
	for (int64_t n = 2; n < 5; n++) CHECK(write(other, n, mpipe::Drop, 0, 0));
	mpipe::Fill f = p.fill(MPR_VIDEO);
	CHECK(f.used == 5 * 12288 && f.capacity == 65536 && f.held == 0);
	CHECK(!write(other, 9, mpipe::Drop, 0, 0));
	int64_t start = mpr_now();
	CHECK(!write(other, 9, 50000000, 0, 0) && mpr_now() - start >= 50000000);
	other.drop_by_policy(0);
	say("full");
	CHECK(write(other, 5, mpipe::Block, 0, 0));
	mpipe::Advice a = p.advice();
	CHECK(a.fps_num == 15 && a.fps_den == 1 && std::string(a.holder) == "bot.video" && mpr_keep(&a, 1, 30) && !mpr_keep(&a, 2, 30));
	say("counted");
	CHECK(code_of([&] {
		for (;;) write(other, 6, mpipe::Block, 0, 0); /* blocked when it comes to the stop */
	}) == MPR_STOPPED);
	say("stopped");

	std::string line;
	std::getline(std::cin, line);
	CHECK(p.reattach(10000) >= 4 && p.lost() >= 4 && p.epochs() == 2);
	for (int64_t n = 0; n < 5; n++) CHECK(write(other, n, mpipe::Block, 0, n == 0 ? MPR_DISCONT : 0)); /* writer and format go on */
	CHECK(p.end(0));
	CHECK(code_of([&] { other.claim(0, video, grey.size); }) == MPR_ENDED);
}

int main(int, char **argv)
{
	try {
		run(argv[1]);
	} catch (const std::exception &e) {
		say(e.what());
		return 1;
	}
	say("done"); /* with everything destroyed */
	return 0;
}
