// An out-of-tree torch accelerator for tests: its memory is host memory, its streams are threads that process a queue,
// its events are stamped when the queue reaches them, and its asynchronous copies take the time given by a rate.
// Registered as PrivateUse1, the key reserved for device vendors.

#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto KIND = c10::DeviceType::PrivateUse1;
constexpr int DEVICES = 2, STREAMS = 4;
constexpr size_t MEMORY = size_t(1) << 30;
double bytes_per_second = 2e9;
std::atomic<size_t> taken{0};
thread_local c10::DeviceIndex current = 0;
thread_local c10::StreamId used[DEVICES] = {0, 0};

class Queue {
public:
    void put(std::function<void()> job)
    {
        std::unique_lock<std::mutex> lock(mutex_);
        if (!started_)
            std::thread([this] { work(); }).detach();
        started_ = true;
        jobs_.push_back(std::move(job));
        changed_.notify_all();
    }

    void wait()
    {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return jobs_.empty() && !busy_; });
    }

private:
    void work()
    {
        for (;;) {
            std::function<void()> job;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                changed_.wait(lock, [this] { return !jobs_.empty(); });
                job = std::move(jobs_.front());
                jobs_.pop_front();
                busy_ = true;
            }
            job();
            job = nullptr;
            std::unique_lock<std::mutex> lock(mutex_);
            busy_ = false;
            changed_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> jobs_;
    bool started_ = false, busy_ = false;
};

Queue &queue(c10::DeviceIndex device, c10::StreamId stream)
{
    static auto *queues = new Queue[DEVICES * STREAMS];      // never destroyed: their threads run until exit
    return queues[device * STREAMS + stream];
}

struct Mark {
    std::mutex mutex;
    std::condition_variable reached;
    bool passed = true;
    Clock::time_point when;
};
using Event = std::shared_ptr<Mark>;        // the queue may reach it after the event is destroyed

struct Guard final : c10::impl::DeviceGuardImplInterface {
    c10::DeviceType type() const override { return KIND; }
    c10::Device exchangeDevice(c10::Device device) const override
    {
        c10::Device old = getDevice();
        current = device.index();
        return old;
    }
    c10::Device getDevice() const override { return {KIND, current}; }
    void setDevice(c10::Device device) const override { current = device.index(); }
    void uncheckedSetDevice(c10::Device device) const noexcept override { current = device.index(); }
    c10::DeviceIndex deviceCount() const noexcept override { return DEVICES; }
    c10::Stream stream(c10::Device device, c10::StreamId id) const
    {
        return c10::Stream(c10::Stream::UNSAFE, c10::Device(KIND, index(device)), id);
    }
    static c10::DeviceIndex index(c10::Device device) { return device.has_index() ? device.index() : current; }
    c10::Stream getStream(c10::Device device) const override { return stream(device, used[index(device)]); }
    c10::Stream getDefaultStream(c10::Device device) const override { return stream(device, 0); }
    c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return getNewStream(device, 0); }
    c10::Stream getNewStream(c10::Device device, int) const override
    {
        static std::atomic<int> next{0};
        return stream(device, 1 + next++ % (STREAMS - 1));
    }
    c10::Stream exchangeStream(c10::Stream wanted) const override
    {
        c10::Stream old = getStream(wanted.device());
        used[wanted.device_index()] = wanted.id();
        return old;
    }
    void destroyEvent(void *event, const c10::DeviceIndex) const noexcept override { delete static_cast<Event *>(event); }
    void record(void **event, const c10::Stream &stream, const c10::DeviceIndex, const c10::EventFlag) const override
    {
        if (*event == nullptr)
            *event = new Event(std::make_shared<Mark>());
        Event mark = *static_cast<Event *>(*event);
        {
            std::lock_guard<std::mutex> lock(mark->mutex);
            mark->passed = false;
        }
        queue(stream.device_index(), stream.id()).put([mark] {
            std::lock_guard<std::mutex> lock(mark->mutex);
            mark->when = Clock::now();
            mark->passed = true;
            mark->reached.notify_all();
        });
    }
    static void reach(const Event &mark)
    {
        std::unique_lock<std::mutex> lock(mark->mutex);
        mark->reached.wait(lock, [mark] { return mark->passed; });
    }
    void block(void *event, const c10::Stream &stream) const override
    {
        if (event == nullptr)
            return;
        Event mark = *static_cast<Event *>(event);
        queue(stream.device_index(), stream.id()).put([mark] { reach(mark); });
    }
    bool queryEvent(void *event) const override
    {
        auto &mark = *static_cast<Event *>(event);
        std::lock_guard<std::mutex> lock(mark->mutex);
        return mark->passed;
    }
    void synchronizeEvent(void *event) const override { reach(*static_cast<Event *>(event)); }
    void synchronizeStream(const c10::Stream &stream) const override { queue(stream.device_index(), stream.id()).wait(); }
    void synchronizeDevice(const c10::DeviceIndex device) const override
    {
        for (int stream = 0; stream < STREAMS; stream++)
            queue(device, stream).wait();
    }
    double elapsedTime(void *first, void *last, const c10::DeviceIndex) const override
    {
        auto between = (*static_cast<Event *>(last))->when - (*static_cast<Event *>(first))->when;
        return std::chrono::duration<double, std::milli>(between).count();
    }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

void give_back(void *block)
{
    auto *start = static_cast<size_t *>(block) - 8;
    taken -= start[0];
    free(start);
}

struct Memory final : c10::DeviceAllocator {
    c10::DataPtr allocate(size_t size) override
    {
        TORCH_CHECK_WITH(OutOfMemoryError, taken + size <= MEMORY, "demo device: out of memory");
        auto *start = static_cast<size_t *>(aligned_alloc(64, (size + 64 + 63) / 64 * 64));
        start[0] = size;
        taken += size;
        return {start + 8, start + 8, &give_back, c10::Device(KIND, current)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
    void copy_data(void *to, const void *from, size_t size) const override { memcpy(to, from, size); }
    bool initialized() override { return true; }
    void emptyCache(c10::MempoolId_t) override {}
    void recordStream(const c10::DataPtr &, c10::Stream) override {}
    c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override { return {}; }
    void resetAccumulatedStats(c10::DeviceIndex) override {}
    void resetPeakStats(c10::DeviceIndex) override {}
    std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex) override { return {MEMORY - taken, MEMORY}; }
};
Memory memory;
REGISTER_ALLOCATOR(KIND, &memory)

struct Pinned final : c10::Allocator {      // any host memory will do
    c10::DataPtr allocate(size_t size) override
    {
        void *block = aligned_alloc(64, (size + 127) / 64 * 64);
        return {block, block, &free, c10::Device(c10::DeviceType::CPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &free; }
    void copy_data(void *to, const void *from, size_t size) const override { memcpy(to, from, size); }
};

struct Hooks final : at::PrivateUse1HooksInterface {
    bool isBuilt() const override { return true; }
    bool isAvailable() const override { return true; }
    bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
    c10::DeviceIndex deviceCount() const override { return DEVICES; }
    void setCurrentDevice(c10::DeviceIndex device) const override { current = device; }
    c10::DeviceIndex getCurrentDevice() const override { return current; }
    c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override
    {
        std::swap(device, current);
        return device;
    }
    c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override { return exchangeDevice(device); }
    bool isPinnedPtr(const void *) const override { return false; }
    c10::Allocator *getPinnedMemoryAllocator() const override
    {
        static Pinned pinned;
        return &pinned;
    }
};

at::Tensor on_host(const at::Tensor &tensor)
{
    return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), tensor.options().device(c10::kCPU));
}

at::Tensor copy_from(const at::Tensor &from, const at::Tensor &to, bool non_blocking)
{
    auto source = on_host(from).expand(to.sizes()), target = on_host(to);
    auto held = std::make_pair(from.storage(), to.storage());
    c10::Device device = from.device().type() == KIND ? from.device() : to.device();
    double least_s = non_blocking ? double(to.nbytes()) / bytes_per_second : 0.0;
    auto &line = queue(device.index(), used[device.index()]);
    line.put([source, target, held, least_s]() mutable {
        auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(least_s));
        c10::InferenceMode plain;
        target.copy_(source);
        std::this_thread::sleep_until(end);
    });
    if (!non_blocking)
        line.wait();
    return to;
}

at::Tensor copy_from_and_resize(const at::Tensor &from, const at::Tensor &to)
{
    if (to.sizes() != from.sizes())
        to.resize_(from.sizes());
    return copy_from(from, to, false);
}

at::Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> type, std::optional<c10::Layout>,
                 std::optional<c10::Device> device, std::optional<bool>, std::optional<c10::MemoryFormat> format)
{
    c10::DeviceGuard guard(device.value_or(c10::Device(KIND, current)));
    return at::detail::empty_generic(size, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                     c10::dtype_or_default(type), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> type,
                         std::optional<c10::Layout>, std::optional<c10::Device> device, std::optional<bool>)
{
    c10::DeviceGuard guard(device.value_or(c10::Device(KIND, current)));
    return at::detail::empty_strided_generic(size, stride, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                             c10::dtype_or_default(type));
}

at::Tensor part_of(const at::Tensor &self, c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<int64_t> at)
{
    auto result = at::detail::make_tensor<c10::TensorImpl>(c10::TensorImpl::VIEW, c10::Storage(self.storage()),
                                                           self.key_set(), self.dtype());
    result.unsafeGetTensorImpl()->set_storage_offset(at.value_or(self.storage_offset()));
    result.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride);
    return result;
}

at::Tensor view(const at::Tensor &self, c10::IntArrayRef size)
{
    at::Tensor shape = on_host(self).view(size);
    return part_of(self, shape.sizes(), shape.strides(), self.storage_offset());
}

void fall_back(const c10::OperatorHandle &op, torch::jit::Stack *stack)
{
    Guard().synchronizeDevice(current);
    at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m)
{
    m.impl("empty.memory_format", &empty);
    m.impl("empty_strided", &empty_strided);
    m.impl("as_strided", &part_of);
    m.impl("view", &view);
    m.impl("view.dtype", &at::native::view_dtype);
    m.impl("_copy_from", &copy_from);
    m.impl("_copy_from_and_resize", &copy_from_and_resize);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m)
{
    m.fallback(torch::CppFunction::makeFromBoxedFunction<&fall_back>());
}

struct Registered {
    Registered() { at::RegisterPrivateUse1HooksInterface(new Hooks); }
} registered;

}

extern "C" void demo_set_rate(double rate)
{
    bytes_per_second = rate;
}
