#include "cli/completion.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace laconic::cli {
namespace {

// Where completion stands: the words of commands so far, and what may follow.
struct Node {
  std::string path;  // "" for the program itself, "nodes list" for a nested command
  const CLI::App* app = nullptr;
};

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

void collect(const CLI::App& app, const std::string& path, std::vector<Node>& nodes) {
  nodes.push_back({path, &app});
  for (const CLI::App* command : commands_of(app)) {
    collect(*command, path.empty() ? command->get_name() : path + " " + command->get_name(), nodes);
  }
}

std::vector<Node> all_nodes(const CLI::App& app) {
  std::vector<Node> nodes;
  collect(app, "", nodes);
  return nodes;
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return !option->get_positional(); });
}

bool is_flag(const CLI::Option& option) {
  return option.get_items_expected_max() == 0;
}

// "-f --file", with the dashes.
std::vector<std::string> names_of(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) {
    names.push_back("-" + name);
  }
  for (const std::string& name : option.get_lnames()) {
    names.push_back("--" + name);
  }
  return names;
}

// The values of an option or argument that takes only a few; empty: anything.
std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t begin = type.find('{');
  const size_t end = type.find('}');
  std::vector<std::string> choices;
  if (begin == std::string::npos || end == std::string::npos) {
    return choices;
  }
  std::string word;
  for (const char letter : type.substr(begin + 1, end - begin - 1) + ",") {
    if (letter == ',') {
      choices.push_back(word);
      word.clear();
    } else {
      word += letter;
    }
  }
  return choices;
}

std::vector<std::string> words_after(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::App* command : commands_of(app)) {
    words.push_back(command->get_name());
  }
  for (const CLI::Option* option :
       app.get_options([](const CLI::Option* candidate) { return candidate->get_positional(); })) {
    for (const std::string& choice : choices_of(*option)) {
      words.push_back(choice);
    }
  }
  return words;
}

std::vector<std::string> option_words(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::Option* option : options_of(app)) {
    for (const std::string& name : names_of(*option)) {
      words.push_back(name);
    }
  }
  return words;
}

// In single quotes for every shell.
std::string quoted(const std::string& text) {
  return "'" + absl::StrReplaceAll(text, {{"'", "'\\''"}}) + "'";
}

// Cases of a shell function that set `words`, `options` and, behind an option with few values,
// `values`. bash and zsh share it.
std::string shell_cases(const std::vector<Node>& nodes, const CLI::App& root) {
  std::string out = "  case \"$path\" in\n";
  for (const Node& node : nodes) {
    std::vector<std::string> options = option_words(*node.app);
    if (node.app != &root) {
      const std::vector<std::string> global = option_words(root);
      options.insert(options.end(), global.begin(), global.end());
    }
    absl::StrAppend(&out, "    ", quoted(node.path),
                    ") words=", quoted(absl::StrJoin(words_after(*node.app), " ")),
                    "; options=", quoted(absl::StrJoin(options, " ")), " ;;\n");
  }
  absl::StrAppend(&out, "  esac\n  case \"$path $previous\" in\n");
  for (const Node& node : nodes) {
    for (const CLI::Option* option : options_of(*node.app)) {
      const std::vector<std::string> choices = choices_of(*option);
      if (choices.empty()) {
        continue;
      }
      for (const std::string& name : names_of(*option)) {
        // A global option may stand behind any command.
        const std::string pattern =
            node.app == &root ? "*" + quoted(" " + name) : quoted(node.path + " " + name);
        absl::StrAppend(&out, "    ", pattern, ") values=", quoted(absl::StrJoin(choices, " ")),
                        " ;;\n");
      }
    }
  }
  return out + "    *) ;;\n  esac\n";
}

// "list|status|nodes|'nodes list'": the words that move from one command to the next.
std::string path_patterns(const std::vector<Node>& nodes) {
  std::vector<std::string> patterns;
  for (const Node& node : nodes) {
    if (!node.path.empty()) {
      patterns.push_back(quoted(node.path));
    }
  }
  return absl::StrJoin(patterns, "|");
}

std::string function_head(const std::vector<Node>& nodes, const std::string& words) {
  return absl::StrCat("  local path='' words='' options='' values='' word try\n  for word in ",
                      words, "; do\n    try=\"${path:+$path }$word\"\n    case \"$try\" in\n      ",
                      path_patterns(nodes), ") path=\"$try\" ;;\n    esac\n  done\n");
}

// "__fish_seen_subcommand_from nodes; and __fish_seen_subcommand_from list"; empty for the program.
std::string fish_condition(const std::string& path) {
  std::vector<std::string> conditions = absl::StrSplit(path, ' ', absl::SkipEmpty());
  for (std::string& condition : conditions) {
    condition.insert(0, "__fish_seen_subcommand_from ");
  }
  return absl::StrJoin(conditions, "; and ");
}

// What `complete` is told of one option.
std::string fish_option(const CLI::Option& option) {
  std::string out;
  for (const std::string& name : option.get_snames()) {
    absl::StrAppend(&out, " -s ", name);
  }
  for (const std::string& name : option.get_lnames()) {
    absl::StrAppend(&out, " -l ", name);
  }
  const std::vector<std::string> choices = choices_of(option);
  absl::StrAppend(&out, is_flag(option) ? "" : " -r",
                  choices.empty() ? "" : " -f -a " + quoted(absl::StrJoin(choices, " ")), " -d ",
                  quoted(option.get_description()));
  return out;
}

}  // namespace

std::string bash_completion(const CLI::App& app) {
  const std::vector<Node> nodes = all_nodes(app);
  return absl::StrCat(
      "# bash completion for laconic; source it, or put it in "
      "/etc/bash_completion.d/laconic\n_laconic() {\n"
      "  local current=\"${COMP_WORDS[COMP_CWORD]}\" previous=\"${COMP_WORDS[COMP_CWORD-1]}\"\n",
      function_head(nodes, "\"${COMP_WORDS[@]:1:COMP_CWORD-1}\""), shell_cases(nodes, app),
      "  COMPREPLY=()\n"
      "  if [ -n \"$values\" ]; then\n"
      "    COMPREPLY=($(compgen -W \"$values\" -- \"$current\"))\n"
      "  elif [[ $current == -* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$options\" -- \"$current\"))\n"
      "  elif [ -n \"$words\" ]; then\n"
      "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "  fi\n}\ncomplete -o default -F _laconic laconic\n");
}

std::string zsh_completion(const CLI::App& app) {
  const std::vector<Node> nodes = all_nodes(app);
  return absl::StrCat(
      "#compdef laconic\n# zsh completion for laconic; put it as _laconic in a directory of "
      "$fpath\n_laconic() {\n"
      "  local current=\"${words[CURRENT]}\" previous=\"${words[CURRENT-1]}\"\n"
      "  local -a line=(\"${(@)words[2,CURRENT-1]}\")\n",
      function_head(nodes, "\"${line[@]}\""), shell_cases(nodes, app),
      "  if [ -n \"$values\" ]; then\n    compadd -- ${=values}\n"
      "  elif [[ $current == -* ]]; then\n    compadd -- ${=options}\n"
      "  elif [ -n \"$words\" ]; then\n    compadd -- ${=words}\n"
      "  else\n    _files\n  fi\n}\n"
      "if [ \"$funcstack[1]\" = \"_laconic\" ]; then\n  _laconic \"$@\"\nelse\n"
      "  compdef _laconic laconic\nfi\n");
}

std::string fish_completion(const CLI::App& app) {
  std::string out = "# fish completion for laconic; put it in ~/.config/fish/completions\n";
  for (const Node& node : all_nodes(app)) {
    const std::string seen = fish_condition(node.path);
    // Options of the program itself stand anywhere.
    const std::string where = seen.empty() ? "" : " -n " + quoted(seen);
    const std::string first = seen.empty() ? " -n __fish_use_subcommand" : where;
    const std::vector<const CLI::App*> commands = commands_of(*node.app);
    for (const CLI::App* command : commands) {
      absl::StrAppend(&out, "complete -c laconic -f", first, " -a ", quoted(command->get_name()),
                      " -d ", quoted(command->get_description()), "\n");
    }
    if (commands.empty()) {
      for (const std::string& word : words_after(*node.app)) {
        absl::StrAppend(&out, "complete -c laconic -f", where, " -a ", quoted(word), "\n");
      }
    }
    for (const CLI::Option* option : options_of(*node.app)) {
      absl::StrAppend(&out, "complete -c laconic", where, fish_option(*option), "\n");
    }
  }
  return out;
}

}  // namespace laconic::cli
