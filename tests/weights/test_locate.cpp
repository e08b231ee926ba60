#include "weights/locate.h"

#include <filesystem>

#include "tests/support/catch.h"
#include "tests/weights/support.h"

namespace crisp {
namespace {

using test::bad_input;
using test::TempDir;

TEST_CASE("FILE|DIR becomes the safetensors file, or an error that says what to do") {
  const TempDir dir;
  const auto locate = [&] { (void)locate_weights(dir.path()); };
  CHECK_THAT(bad_input(locate), Catch::Contains("has no model.safetensors"));
  CHECK_THAT(bad_input([&] { (void)locate_weights(dir / "missing"); }), Catch::Contains("no such file"));

  test::write_file(dir / "pytorch_model.bin", "x");
  CHECK_THAT(bad_input(locate), Catch::Contains("has pytorch_model.bin but no model.safetensors; convert it"));

  test::write_file(dir / "model.safetensors.index.json", "{}");
  CHECK_THAT(bad_input(locate), Catch::Contains("a sharded checkpoint"));
  CHECK_THAT(bad_input([&] { (void)locate_weights(dir / "model.safetensors.index.json"); }),
             Catch::Contains("a sharded checkpoint"));

  test::write_file(dir / "model.safetensors", "x");
  CHECK(locate_weights(dir.path()) == dir / "model.safetensors");
  CHECK(locate_weights(dir / "model.safetensors") == dir / "model.safetensors");
  CHECK(locate_weights(dir / "pytorch_model.bin") == dir / "pytorch_model.bin");  // opening it tells what it is
}

}  // namespace
}  // namespace crisp
