#include "train/commands.h"

int main(int argc, char** argv) {
  return choir::RunProgram(argv[0], std::vector<std::string>(argv + 1, argv + argc));
}
