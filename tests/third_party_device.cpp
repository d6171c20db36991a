// An out-of-tree torch accelerator for tests, with the awkward properties of real ones, and its collective library.
//
// Memory is host memory. Streams are threads that process a queue; the host only queues. Each stream keeps the time of
// the device: a job begins when it was queued or when the one before it ended, whichever is later, and takes the time
// that the settings give. Events are stamped with that time, so what they measure does not depend on the load of the
// machine; a job that really ends earlier is held back until then.
//
// Registered as PrivateUse1, the key reserved for device vendors.

#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <torch/csrc/utils/pybind.h>
#include <torch/library.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

namespace {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;
constexpr auto KIND = c10::DeviceType::PrivateUse1;
constexpr int DEVICES = 4, POOL = 4, STREAMS = 64;      // streams from POOL on belong to process groups
constexpr double FILL_BPS = 2e9;

struct Settings {
    double copy_Bps = 2e9;      // of asynchronous copies
    double call_s = 0;          // a collective or message takes on the device
    double host_s = 0;          // it takes the host to queue one
    double init_s = 0;          // it takes the host to make a communicator
    int devices = DEVICES;      // visible ones
    size_t memory = size_t(1) << 30;
    bool caching = true;        // freed memory stays with the process
    bool neutral = true;        // torch.accelerator can be asked about memory
} settings;

std::atomic<int> communicators{0};
thread_local c10::DeviceIndex current = 0;
thread_local c10::StreamId used[DEVICES] = {0, 0};

Clock::duration seconds(double count)
{
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(count));
}

class Queue {
public:
    using Job = std::function<void(Time &now)>;     // moves the time of the stream on

    void put(Job job)
    {
        std::unique_lock<std::mutex> lock(mutex_);
        if (!started_)
            std::thread([this] { work(); }).detach();
        started_ = true;
        jobs_.emplace_back(Clock::now(), std::move(job));
        changed_.notify_all();
    }

    // Wait until all jobs are done. Throws the first exception of a job since the last wait.
    void wait()
    {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return jobs_.empty() && !busy_; });
        if (auto failure = std::exchange(failure_, nullptr))
            std::rethrow_exception(failure);
    }

private:
    void work()
    {
        Time now;
        for (;;) {
            std::pair<Time, Job> next;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                changed_.wait(lock, [this] { return !jobs_.empty(); });
                next = std::move(jobs_.front());
                jobs_.pop_front();
                busy_ = true;
            }
            now = std::max(now, next.first);
            std::exception_ptr failure;
            try {
                next.second(now);
            } catch (...) {
                failure = std::current_exception();
            }
            std::this_thread::sleep_until(now);
            next.second = nullptr;
            std::unique_lock<std::mutex> lock(mutex_);
            failure_ = failure_ ? failure_ : failure;
            busy_ = false;
            changed_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::pair<Time, Job>> jobs_;
    std::exception_ptr failure_;
    bool started_ = false, busy_ = false;
};

Queue &queue(c10::DeviceIndex device, c10::StreamId stream)
{
    static auto *queues = new Queue[DEVICES * STREAMS];      // never destroyed: their threads run until exit
    return queues[device * STREAMS + stream];
}

// One point in a queue, which may outlive the event or the work that it belongs to.
class Mark {
public:
    void pass(Time when)
    {
        std::lock_guard<std::mutex> lock(mutex_);
        when_ = when;
        passed_ = true;
        reached_.notify_all();
    }
    Time reach()
    {
        std::unique_lock<std::mutex> lock(mutex_);
        reached_.wait(lock, [this] { return passed_; });
        return when_;
    }
    bool passed()
    {
        std::lock_guard<std::mutex> lock(mutex_);
        return passed_;
    }

private:
    std::mutex mutex_;
    std::condition_variable reached_;
    bool passed_ = false;
    Time when_;
};
using Event = std::shared_ptr<Mark>;

Event marked(Queue &stream)
{
    auto mark = std::make_shared<Mark>();
    stream.put([mark](Time &now) { mark->pass(now); });
    return mark;
}

void wait_for(const Event &mark, Queue &stream)
{
    stream.put([mark](Time &now) { now = std::max(now, mark->reach()); });
}

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
    c10::DeviceIndex deviceCount() const noexcept override { return settings.devices; }
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
        return stream(device, 1 + next++ % (POOL - 1));
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
            *event = new Event;
        at(*event) = marked(queue(stream.device_index(), stream.id()));
    }
    static Event &at(void *event) { return *static_cast<Event *>(event); }
    void block(void *event, const c10::Stream &stream) const override
    {
        if (event != nullptr)
            wait_for(at(event), queue(stream.device_index(), stream.id()));
    }
    bool queryEvent(void *event) const override { return event == nullptr || at(event)->passed(); }
    void synchronizeEvent(void *event) const override { at(event)->reach(); }
    void synchronizeStream(const c10::Stream &stream) const override { queue(stream.device_index(), stream.id()).wait(); }
    void synchronizeDevice(const c10::DeviceIndex device) const override
    {
        for (int stream = 0; stream < STREAMS; stream++)
            queue(device, stream).wait();
    }
    double elapsedTime(void *first, void *last, const c10::DeviceIndex) const override
    {
        return std::chrono::duration<double, std::milli>(at(last)->reach() - at(first)->reach()).count();
    }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

// Memory of one process. Like torch's caching allocators it keeps freed blocks, does not count them as free, gives them
// to later tensors of about the same size, and returns all of them to the device when asked or when out of memory.
struct Memory final : c10::DeviceAllocator {
    c10::DataPtr allocate(size_t size) override
    {
        std::lock_guard<std::mutex> lock(mutex_);
        size = (size + LINE - 1) / LINE * LINE;
        auto block = cached_.lower_bound(size);
        if (block != cached_.end() && block->first - size < SLACK) {
            size = block->first;
            void *start = block->second;
            cached_.erase(block);
            return pointer(start, size);
        }
        if (reserved_ + size > settings.memory)
            release();
        TORCH_CHECK_WITH(OutOfMemoryError, reserved_ + size <= settings.memory, "demo device: out of memory: ", size,
                         " bytes wanted, ", settings.memory - reserved_, " free");
        reserved_ += size;
        return pointer(aligned_alloc(LINE, std::max(size, LINE)), size);
    }
    c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
    void copy_data(void *to, const void *from, size_t size) const override { memcpy(to, from, size); }
    bool initialized() override { return true; }
    void emptyCache(c10::MempoolId_t) override
    {
        refuse();
        empty();
    }
    void recordStream(const c10::DataPtr &, c10::Stream) override {}
    c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override { return {}; }
    void resetAccumulatedStats(c10::DeviceIndex) override {}
    void resetPeakStats(c10::DeviceIndex) override {}
    std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex) override
    {
        refuse();
        return info();
    }

    // What the device's own module offers, whether torch.accelerator works or not.
    void empty()
    {
        std::lock_guard<std::mutex> lock(mutex_);
        release();
    }
    std::pair<size_t, size_t> info()
    {
        std::lock_guard<std::mutex> lock(mutex_);
        return {settings.memory - reserved_, settings.memory};
    }

private:
    static constexpr size_t LINE = 512, SLACK = size_t(1) << 20;
    struct Block {
        Memory *memory;
        void *start;
        size_t size;
    };

    static void refuse()
    {
        TORCH_CHECK(settings.neutral, "demo device: not implemented for this allocator yet");
    }
    c10::DataPtr pointer(void *start, size_t size)
    {
        return {start, new Block{this, start, size}, &freed, c10::Device(KIND, current)};
    }
    static void freed(void *context)
    {
        std::unique_ptr<Block> block(static_cast<Block *>(context));
        Memory &memory = *block->memory;
        std::lock_guard<std::mutex> lock(memory.mutex_);
        memory.cached_.emplace(block->size, block->start);
        if (!settings.caching)
            memory.release();
    }
    void release()
    {
        for (auto &[size, start] : cached_) {
            reserved_ -= size;
            free(start);
        }
        cached_.clear();
    }

    std::mutex mutex_;
    std::multimap<size_t, void *> cached_;
    size_t reserved_ = 0;
};
auto &memory = *new Memory;      // never destroyed: queues may free tensors until exit
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
    c10::DeviceIndex deviceCount() const override { return settings.devices; }
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
    double least_s = non_blocking ? double(to.nbytes()) / settings.copy_Bps : 0.0;
    auto &line = queue(device.index(), used[device.index()]);
    line.put([source, target, held, least_s](Time &now) mutable {
        c10::InferenceMode plain;
        target.copy_(source);
        now += seconds(least_s);
    });
    if (!non_blocking)
        line.wait();
    return to;
}

at::Tensor &fill(at::Tensor &self, const at::Scalar &value)
{
    queue(self.device().index(), used[self.device().index()]).put([target = on_host(self), held = self.storage(),
                                                                   value](Time &now) mutable {
        c10::InferenceMode plain;
        target.fill_(value);
        now += seconds(double(target.nbytes()) / FILL_BPS);
    });
    return self;
}

at::Tensor &zero(at::Tensor &self)
{
    return fill(self, 0);
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
    m.impl("fill_.Scalar", &fill);
    m.impl("zero_", &zero);
    m.impl("_copy_from_and_resize", &copy_from_and_resize);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m)
{
    m.fallback(torch::CppFunction::makeFromBoxedFunction<&fall_back>());
}

struct Registered {
    Registered() { at::RegisterPrivateUse1HooksInterface(new Hooks); }
} registered;


// Complete once the stream of the library has passed its end. Only a barrier makes the host wait.
class Call final : public c10d::Work {
public:
    Call(Event end, bool host_waits) : end_(std::move(end)), host_waits_(host_waits) {}
    bool isCompleted() override { return end_->passed(); }
    void synchronize() override { wait(kNoTimeout); }
    bool wait(std::chrono::milliseconds) override
    {
        if (host_waits_)
            end_->reach();
        wait_for(end_, queue(current, used[current]));
        return true;
    }

private:
    Event end_;
    bool host_waits_;
};

// The collective library: each process group has a stream of its own, on which gloo is called with the memory of the
// tensors. Communicators are made as by NCCL: for the group in its first call, for a pair in its first message that is
// not batched, or once for both if the group is bound to a device from the start.
class Library final : public c10d::Backend {
    using Works = std::vector<c10::intrusive_ptr<c10d::Work>>;
    using Start = std::function<c10::intrusive_ptr<c10d::Work>(c10d::Backend &gloo)>;
    using Tensors = std::vector<at::Tensor>;
    using Work = c10::intrusive_ptr<c10d::Work>;
    static constexpr auto PATIENCE = std::chrono::seconds(2);

public:
    Library(c10::intrusive_ptr<c10d::Backend> gloo, c10::intrusive_ptr<c10d::Store> store, int global_rank)
        : Backend(gloo->getRank(), gloo->getSize()), gloo_(std::move(gloo)), store_(std::move(store)),
          global_rank_(global_rank)
    {
        static std::atomic<int> next{0};
        stream_ = POOL + next++ % (STREAMS - POOL);
    }
    const std::string getBackendName() const override { return "democcl"; }
    bool supportsSplitting() const override { return true; }
    bool supportsCoalescing() const override { return true; }
    void eagerConnectSingleDevice(at::Device) override
    {
        connect();
        eager_ = true;
    }

    Work allreduce(Tensors &data, const c10d::AllreduceOptions &options) override
    {
        return collective(data, [data = on_hosts(data), options](auto &gloo) mutable {
            return gloo.allreduce(data, options);
        });
    }
    Work broadcast(Tensors &data, const c10d::BroadcastOptions &options) override
    {
        return collective(data, [data = on_hosts(data), options](auto &gloo) mutable {
            return gloo.broadcast(data, options);
        });
    }
    Work reduce(Tensors &data, const c10d::ReduceOptions &options) override
    {
        return collective(data, [data = on_hosts(data), options](auto &gloo) mutable {
            return gloo.reduce(data, options);
        });
    }
    Work _allgather_base(at::Tensor &output, at::Tensor &input, const c10d::AllgatherOptions &options) override
    {
        return collective({output, input}, [to = on_host(output), from = on_host(input), options](auto &gloo) mutable {
            return gloo._allgather_base(to, from, options);
        });
    }
    Work _reduce_scatter_base(at::Tensor &output, at::Tensor &input,
                              const c10d::ReduceScatterOptions &options) override
    {
        return collective({output, input}, [to = on_host(output), from = on_host(input), options](auto &gloo) mutable {
            return gloo._reduce_scatter_base(to, from, options);
        });
    }
    Work gather(std::vector<Tensors> &outputs, Tensors &inputs, const c10d::GatherOptions &options) override
    {
        return collective(joined(outputs, inputs), [to = on_hosts(outputs), from = on_hosts(inputs),
                                                    options](auto &gloo) mutable {
            return gloo.gather(to, from, options);
        });
    }
    Work scatter(Tensors &outputs, std::vector<Tensors> &inputs, const c10d::ScatterOptions &options) override
    {
        return collective(joined(inputs, outputs), [to = on_hosts(outputs), from = on_hosts(inputs),
                                                    options](auto &gloo) mutable {
            return gloo.scatter(to, from, options);
        });
    }
    Work alltoall_base(at::Tensor &output, at::Tensor &input, std::vector<int64_t> &output_sizes,
                       std::vector<int64_t> &input_sizes, const c10d::AllToAllOptions &options) override
    {
        return collective({output, input}, [to = on_host(output), from = on_host(input), output_sizes, input_sizes,
                                            options](auto &gloo) mutable {
            return gloo.alltoall_base(to, from, output_sizes, input_sizes, options);
        });
    }
    // Without a tensor the device is guessed as NCCL's process group does.
    Work barrier(const c10d::BarrierOptions &options) override
    {
        int device = !options.device_ids.empty() ? int(options.device_ids[0])
                     : getBoundDeviceId()        ? getBoundDeviceId()->index()
                     : connected_on_ >= 0        ? connected_on_
                                                 : global_rank_ % settings.devices;
        TORCH_CHECK(device == current, "democcl: barrier on device ", device, ", but this rank uses ", int(current),
                    ": give the group a device_id, or the barrier device_ids");
        return collective({}, [](auto &gloo) { return gloo.barrier(); }, true);
    }

    Work send(Tensors &data, int to, int tag) override
    {
        return message(data, to, [data = on_hosts(data), to, tag](auto &gloo) mutable {
            return gloo.send(data, to, tag);
        });
    }
    Work recv(Tensors &data, int from, int tag) override
    {
        return message(data, from, [data = on_hosts(data), from, tag](auto &gloo) mutable {
            return gloo.recv(data, from, tag);
        });
    }
    void startCoalescing() override { batching_ = true; }
    Work endCoalescing() override
    {
        batching_ = false;
        meet_in_message();
        return queued(std::exchange(held_, {}), std::exchange(batch_, {}));
    }

private:
    static Tensors on_hosts(const Tensors &tensors)
    {
        Tensors hosts;
        for (const auto &tensor : tensors)
            hosts.push_back(on_host(tensor));
        return hosts;
    }
    static std::vector<Tensors> on_hosts(const std::vector<Tensors> &lists)
    {
        std::vector<Tensors> hosts;
        for (const auto &tensors : lists)
            hosts.push_back(on_hosts(tensors));
        return hosts;
    }
    static Tensors joined(const std::vector<Tensors> &lists, Tensors all)
    {
        for (const auto &tensors : lists)
            all.insert(all.end(), tensors.begin(), tensors.end());
        return all;
    }

    static void make_communicator()
    {
        communicators++;
        std::this_thread::sleep_for(seconds(settings.init_s));
    }

    void connect()
    {
        if (connected_on_ < 0)
            make_communicator();
        connected_on_ = connected_on_ < 0 ? current : connected_on_;
    }

    // If a message is a group's first call, it makes the communicator of the group, in which all ranks must take part.
    // Real libraries hang otherwise.
    void meet_in_message()
    {
        auto until = Clock::now() + PATIENCE;
        int64_t here = connected_on_ < 0 ? store_->add("democcl", 1) : size_;
        while (here < size_ && Clock::now() < until) {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            here = store_->add("democcl", 0);
        }
        TORCH_CHECK(here >= size_, "democcl: ", here, " of ", size_, " ranks took part in the first call of a group");
        connect();
    }

    Work collective(const Tensors &data, Start start, bool host_waits = false)
    {
        connect();
        return queued(data, {std::move(start)}, host_waits);
    }

    Work message(const Tensors &data, int peer, Start start)
    {
        if (batching_) {
            held_.insert(held_.end(), data.begin(), data.end());
            batch_.push_back(std::move(start));
            return c10::make_intrusive<c10d::Work>();
        }
        meet_in_message();
        if (!eager_ && pairs_.insert(peer).second)
            make_communicator();
        return queued(data, {std::move(start)});
    }

    // Queue one job that makes all calls at once, after the work that the current stream has now.
    Work queued(Tensors data, std::vector<Start> starts, bool host_waits = false)
    {
        auto until = Clock::now() + seconds(settings.host_s);
        auto &stream = queue(current, stream_);
        wait_for(marked(queue(current, used[current])), stream);
        stream.put([gloo = gloo_, data, starts](Time &now) {
            Works works;
            for (const auto &start : starts)
                works.push_back(start(*gloo));
            for (const auto &work : works)
                work->wait();
            now += seconds(settings.call_s);
        });
        auto call = c10::make_intrusive<Call>(marked(stream), host_waits);
        while (Clock::now() < until) {}
        return call;
    }

    c10::intrusive_ptr<c10d::Backend> gloo_;
    c10::intrusive_ptr<c10d::Store> store_;
    int global_rank_;
    c10::StreamId stream_;
    int connected_on_ = -1;     // the device, once there is a communicator
    bool eager_ = false, batching_ = false;
    std::set<int> pairs_;       // with a communicator of their own
    Tensors held_;
    std::vector<Start> batch_;
};

}

PYBIND11_MODULE(demo_device, m)
{
    m.def("configure", [](double copy_Bps, double call_s, double host_s, double init_s, int devices, size_t memory,
                          bool caching, bool neutral) {
        settings = {copy_Bps, call_s, host_s, init_s, devices, memory, caching, neutral};
    }, py::kw_only(), py::arg("copy_Bps"), py::arg("call_s"), py::arg("host_s"), py::arg("init_s"), py::arg("devices"),
          py::arg("memory"), py::arg("caching"), py::arg("neutral"));
    m.def("library", [](c10::intrusive_ptr<c10d::Backend> gloo, c10::intrusive_ptr<c10d::Store> store,
                        int global_rank) -> c10::intrusive_ptr<c10d::Backend> {
        return c10::make_intrusive<Library>(std::move(gloo), std::move(store), global_rank);
    });
    m.def("communicators", [] { return communicators.load(); });
    m.def("mem_get_info", [] { return memory.info(); });
    m.def("empty_cache", [] { memory.empty(); });
}
