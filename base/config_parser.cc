#include "base/config_parser.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <sstream>

#include "base/strings.h"

namespace choir {
namespace {

// Thrown through yaml-cpp, which cannot be stopped otherwise, and caught in ParseConfigText.
struct StopReading {};

// Builds the tree from the parser's events. Open collections lie on a stack; a finished node goes
// to the collection below it.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const ConfigPlace& origin, ConfigErrorList& errors)
      : origin_(origin), errors_(errors) {
    root_.place = origin;
  }

  ConfigPlace PlaceOf(const YAML::Mark& mark) const {
    if (origin_.is_argument || mark.is_null()) return origin_;
    return {.file = origin_.file, .line = mark.line + 1, .column = mark.column + 1};
  }
  ConfigNode& root() { return root_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ == 0) return;
    errors_.Add(PlaceOf(mark), "a second YAML document starts here; one file holds one config");
    throw StopReading();
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseAnchor(mark, anchor);
    ConfigNode node{.place = PlaceOf(mark)};
    // The mark of an empty value is that of the next token: the key is the better place.
    if (!open_.empty() && open_.back().has_key) node.place = open_.back().key.place;
    Finish(std::move(node));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    errors_.Add(PlaceOf(mark), "aliases (*name) are not allowed; write the value out");
    Finish({.place = PlaceOf(mark)}, /*faulty=*/true);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    Finish({.kind = ConfigNode::Kind::kScalar,
            .place = PlaceOf(mark),
            .text = value,
            .quoted = tag == "!"});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Start(ConfigNode::Kind::kSequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { End(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Start(ConfigNode::Kind::kMapping, mark, tag, anchor);
  }
  void OnMapEnd() override { End(); }

 private:
  struct Open {
    ConfigNode node;
    ConfigKey key;
    bool has_key = false;     // mapping: the next node is the value of `key`
    bool drop_value = false;  // that value was complained about and is left out
  };

  void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor == 0) return;
    errors_.Add(PlaceOf(mark), "anchors (&name) are not allowed; write the value out");
  }
  void RefuseTag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    errors_.Add(PlaceOf(mark), StrCat("tags (", tag, ") are not allowed"));
  }

  void Start(ConfigNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
             YAML::anchor_t anchor) {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    if (open_.size() == kMaxConfigDepth) {
      errors_.Add(PlaceOf(mark), StrCat("more than ", kMaxConfigDepth, " levels of nesting"));
      throw StopReading();
    }
    Open open;
    open.node.kind = kind;
    open.node.place = PlaceOf(mark);
    open_.push_back(std::move(open));
  }

  void End() {
    ConfigNode node = std::move(open_.back().node);
    open_.pop_back();
    Finish(std::move(node));
  }

  void Finish(ConfigNode node, bool faulty = false) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == ConfigNode::Kind::kSequence) {
      if (!faulty) parent.node.items.push_back(std::move(node));
    } else if (!parent.has_key) {
      TakeKey(parent, std::move(node), faulty);
    } else {
      parent.has_key = false;
      if (parent.drop_value || faulty) return;
      parent.node.keys.push_back(std::move(parent.key));
      parent.node.items.push_back(std::move(node));
    }
  }

  void TakeKey(Open& parent, ConfigNode node, bool faulty) {
    parent.has_key = true;
    parent.drop_value = true;
    parent.key = {node.text, node.place};
    if (faulty) return;
    if (node.kind != ConfigNode::Kind::kScalar) {
      errors_.Add(node.place, "a key must be a single word");
      return;
    }
    for (const ConfigKey& earlier : parent.node.keys) {
      if (earlier.name != node.text) continue;
      errors_.Add(node.place,
                  StrCat("key '", node.text, "' is already set on line ", earlier.place.line));
      return;
    }
    parent.drop_value = false;
  }

  const ConfigPlace origin_;
  ConfigErrorList& errors_;
  std::vector<Open> open_;
  ConfigNode root_;
  int documents_ = 0;
};

}  // namespace

bool ParseConfigText(std::string_view text, const ConfigPlace& origin, ConfigNode& root,
                     ConfigErrorList& errors) {
  root = {.place = origin};
  if (text.size() > kMaxConfigBytes) {
    errors.Add(origin, StrCat("a config may have at most ", kMaxConfigBytes, " bytes, this has ",
                              text.size()));
    return false;
  }
  TreeBuilder builder(origin, errors);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const StopReading&) {
    return false;
  } catch (const YAML::Exception& e) {
    errors.Add(builder.PlaceOf(e.mark), StrCat("not valid YAML: ", e.msg));
    return false;
  }
  root = std::move(builder.root());
  return true;
}

}  // namespace choir
