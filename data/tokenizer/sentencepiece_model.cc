#include "data/tokenizer/sentencepiece_model.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include "base/check.h"

namespace choir {
namespace {

class VectorIterator : public sentencepiece::SentenceIterator {
 public:
  explicit VectorIterator(const std::vector<std::string>& sentences) : sentences_(sentences) {}
  bool done() const override { return next_ == sentences_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return sentences_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& sentences_;
  size_t next_ = 0;
};

}  // namespace

SentencePieceModel::SentencePieceModel()
    : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {}
SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::Load(const std::string& bytes,
                                                             std::string& error) {
  std::unique_ptr<SentencePieceModel> model(new SentencePieceModel);
  const auto status = model->processor_->LoadFromSerializedProto(bytes);
  if (status.ok()) return model;
  error = status.message();
  return nullptr;
}

int SentencePieceModel::size() const { return processor_->GetPieceSize(); }
std::string SentencePieceModel::Piece(int id) const { return processor_->IdToPiece(id); }
bool SentencePieceModel::IsByte(int id) const { return processor_->IsByte(id); }
bool SentencePieceModel::IsSpecial(int id) const {
  return processor_->IsControl(id) || processor_->IsUnknown(id);
}
int SentencePieceModel::bos_id() const { return processor_->bos_id(); }
int SentencePieceModel::eos_id() const { return processor_->eos_id(); }
int SentencePieceModel::pad_id() const { return processor_->pad_id(); }

void SentencePieceModel::Encode(std::string_view text, std::vector<int>& ids) const {
  const auto status = processor_->Encode(text, &ids);
  CHECK(status.ok()) << status.message();
}

std::string TrainSentencePieceModel(const std::unordered_map<std::string, std::string>& arguments,
                                    const std::vector<std::string>& sentences, std::string& error) {
  VectorIterator iterator(sentences);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &iterator, &model);
  if (status.ok()) return model;
  error = status.message();
  return {};
}

}  // namespace choir
