#include "server/telemetry/cost_meter.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "server/api/tenant.h"
#include "server/telemetry/apportion.h"

namespace deltaserve {
namespace {

constexpr int64_t kEnergyInterval = 10'000'000;  // ns

}  // namespace

int64_t DeviceAccount::AttributedNs() const {
  int64_t sum = 0;
  for (const Share& share : shares) {
    for (const DeviceUse& use : share.use.values) sum += use.device_ns;
  }
  return sum;
}

CostMeter::CostMeter(const Prices& prices, EnergyCounter& energy, SteadyNs now)
    : prices_(prices), begin_(now), energy_(energy), cut_(now) {
  first_energy_uj_ = energy_.Read();
  last_energy_uj_ = first_energy_uj_.value_or(0);
}

void CostMeter::AddModel(std::string_view name, const CostModel& cost) {
  MutexLock lock(&mutex_);
  Find(name).cost = cost;
}

void CostMeter::AddTenant(std::string_view name) {
  MutexLock lock(&mutex_);
  FindTenant(name);
}

CostMeter::Model& CostMeter::Find(std::string_view name) {
  const auto found = models_.find(name);
  return found != models_.end() ? found->second : models_[std::string(name)];
}

size_t CostMeter::FindTenant(std::string_view name) {
  const auto found = tenants_.find(name);
  if (found != tenants_.end()) return found->second;
  const size_t index = tenants_.size();
  tenants_.emplace(name, index);
  return index;
}

void CostMeter::Advance(SteadyNs now) {
  // Threads read the clock before they take the lock: the later cut stands.
  const int64_t elapsed = std::max<int64_t>(0, now - cut_);
  cut_ += elapsed;
  unread_ns_[state_] += elapsed;
  (state_ == kStep ? running_ns_ : unattributed_[state_].device_ns) += elapsed;
}

void CostMeter::Become(State state, SteadyNs now) {
  Advance(now);
  state_ = state;
}

void CostMeter::BeginOverhead(SteadyNs now) {
  MutexLock lock(&mutex_);
  between_steps_ = kOverhead;
  if (state_ != kStep) Become(kOverhead, now);
}

void CostMeter::EndOverhead(SteadyNs now) {
  MutexLock lock(&mutex_);
  between_steps_ = kIdle;
  if (state_ != kStep) Become(kIdle, now);
  unattributed_[kIdle].energy_uj += ReadEnergy();
}

void CostMeter::Open(RequestId request, std::string_view tenant) {
  MutexLock lock(&mutex_);
  requests_.try_emplace(request, Request{.tenant = FindTenant(tenant), .spent = {}});
}

ByPhase<DeviceUse> CostMeter::Close(RequestId request) {
  MutexLock lock(&mutex_);
  ByPhase<DeviceUse> use;
  const auto found = requests_.find(request);
  if (found == requests_.end()) return use;
  for (const Phase phase : kPhases) use[phase] = UseOf(found->second.spent[phase]);
  requests_.erase(found);
  return use;
}

DeviceUse CostMeter::UseSoFar(RequestId request) {
  MutexLock lock(&mutex_);
  DeviceUse use;
  const auto found = requests_.find(request);
  if (found == requests_.end()) return use;
  for (const Spent& spent : found->second.spent.values) use += UseOf(spent);
  return use;
}

DeviceUse CostMeter::UseOf(const Spent& spent) const {
  DeviceUse use;
  use.device_ns = spent.device_ns;
  if (first_energy_uj_) use.energy_uj = spent.energy_uj;
  use.cost = prices_.CostOf(use.device_ns, use.energy_uj);
  return use;
}

DeviceAccount CostMeter::Account(SteadyNs now) {
  MutexLock lock(&mutex_);
  Advance(now);
  DeviceAccount account;
  account.begin = begin_;
  account.end = cut_;
  account.running_ns = running_ns_;
  account.overhead = UseOf(unattributed_[kOverhead]);
  account.idle = UseOf(unattributed_[kIdle]);
  if (first_energy_uj_) account.energy_uj = last_energy_uj_ - *first_energy_uj_;
  for (const auto& [model_name, model] : models_) {
    for (const auto& [tenant_name, tenant] : tenants_) {
      DeviceAccount::Share& share = account.shares.emplace_back();
      share.model = model_name;
      share.tenant = tenant_name;
      const ByPhase<Spent> spent =
          tenant < model.spent.size() ? model.spent[tenant] : ByPhase<Spent>();
      for (const Phase phase : kPhases) share.use[phase] = UseOf(spent[phase]);
    }
  }
  return account;
}

void CostMeter::OnStepBegin(std::string_view, SteadyNs begin) {
  MutexLock lock(&mutex_);
  Become(kStep, begin);
  // So that a long idleness is not mixed with the step after it. What little there was of steps
  // before it has nobody to go to any more.
  if (unread_ns_[kOverhead] + unread_ns_[kIdle] >= kEnergyInterval) {
    unattributed_[kIdle].energy_uj += ReadEnergy();
  }
}

void CostMeter::OnStep(const StepStats& step) {
  MutexLock lock(&mutex_);
  if (state_ != kStep) Become(kStep, step.begin);
  Become(between_steps_, step.end);
  const int64_t device_ns = std::exchange(running_ns_, 0);
  const int64_t unread_ns = std::accumulate(std::begin(unread_ns_), std::end(unread_ns_), 0LL);
  const int64_t energy_uj = unread_ns >= kEnergyInterval ? ReadEnergy() : 0;
  if (step.work.empty()) {  // of nobody
    unattributed_[kOverhead].device_ns += device_ns;
    unattributed_[kOverhead].energy_uj += energy_uj;
    return;
  }
  Charge(step, Find(step.model), device_ns, energy_uj);
}

int64_t CostMeter::ReadEnergy() {
  const std::optional<int64_t> energy_uj = energy_.Read();
  if (!energy_uj) return 0;  // the next reading brings it
  if (!first_energy_uj_) first_energy_uj_ = last_energy_uj_ = *energy_uj;
  const int64_t used = std::max<int64_t>(0, *energy_uj - last_energy_uj_);
  last_energy_uj_ += used;
  constexpr uint64_t kStates[] = {kOverhead, kIdle, kStep};
  const std::vector<int64_t> parts = Apportion(used, unread_ns_, kStates);
  unattributed_[kOverhead].energy_uj += parts[kOverhead];
  unattributed_[kIdle].energy_uj += parts[kIdle];
  std::fill(std::begin(unread_ns_), std::end(unread_ns_), 0);
  return parts[kStep];
}

void CostMeter::Charge(const StepStats& step, Model& model, int64_t device_ns, int64_t energy_uj) {
  const std::vector<int64_t> weights = model.cost.Picoseconds(step.work);
  std::vector<uint64_t> sequences;
  sequences.reserve(step.work.size());
  for (const SequenceWork& work : step.work) sequences.push_back(work.sequence);
  const std::vector<int64_t> ns = Apportion(device_ns, weights, sequences);
  const std::vector<int64_t> uj =
      energy_uj == 0 ? std::vector<int64_t>(ns.size()) : Apportion(energy_uj, weights, sequences);
  for (size_t i = 0; i < step.work.size(); ++i) {
    const SequenceWork& work = step.work[i];
    const auto charge = [&](ByPhase<Spent>& spent) {
      spent[work.phase].device_ns += ns[i];
      spent[work.phase].energy_uj += uj[i];
    };
    const auto request = requests_.find(work.request);
    const bool is_open = request != requests_.end();
    if (is_open) charge(request->second.spent);
    const size_t tenant = is_open ? request->second.tenant : FindTenant(Tenant().name);
    if (tenant >= model.spent.size()) model.spent.resize(tenant + 1);
    charge(model.spent[tenant]);
  }
}

}  // namespace deltaserve
