<?php

// The part of Joomla's back end that the component's views, templates and tasks need, so that the real ones run without
// Joomla: in admin.php for browsers, and in ../php/AdminPagesTest.php for all texts. With PSEUDO_LOCALE=1 in the
// environment each text of an ini file is in ⟦ and ⟧, so that a text without brackets comes from elsewhere. It is only
// for tests.

namespace Joomla\CMS\Language {
    class Text
    {
        /** @var  array<string, string>  keys and texts that JavaScript gets */
        public static array $scripts = [];

        public static function _($key)
        {
            static $texts = null;
            $texts ??= parse_ini_file(__DIR__ . '/../../../joomla/com_websockets/admin/language/en-GB/com_websockets.ini')
                + ['JYES' => 'Yes', 'JNO' => 'No', 'JERROR_ALERTNOAUTHOR' => 'You may not', 'JINVALID_TOKEN' => 'The token is wrong'];

            if (!isset($texts[$key])) {
                throw new \LogicException("there is no text $key");
            }

            return getenv('PSEUDO_LOCALE') ? '⟦' . $texts[$key] . '⟧' : $texts[$key];
        }

        public static function sprintf($key, ...$values)
        {
            return sprintf(self::_($key), ...$values);
        }

        public static function script($key)
        {
            self::$scripts[$key] = self::_($key);
        }
    }
}

namespace Joomla\CMS {
    class Factory
    {
        public static $app;

        public static function getApplication()
        {
            return self::$app;
        }
    }
}

namespace Joomla\CMS\HTML {
    class HTMLHelper
    {
        public static function _($what, $value = null, $format = null)
        {
            return match ($what) {
                'form.token' => '<input type="hidden" name="' . \Joomla\CMS\Factory::$app->token . '" value="1">',
                'date' => gmdate('H:i:s', (int) ltrim($value, '@')),
            };
        }
    }
}

namespace Joomla\CMS\Router {
    class Route
    {
        public static function _($url, $xhtml = true)
        {
            return $xhtml ? htmlspecialchars($url, ENT_QUOTES, 'UTF-8') : $url;
        }
    }
}

namespace Joomla\CMS\Uri {
    class Uri
    {
        public static function root()
        {
            return 'http://' . ($_SERVER['HTTP_HOST'] ?? 'www.example.org') . '/';
        }
    }
}

namespace Joomla\CMS\Component {
    class ComponentHelper
    {
        public static array $params = [];

        public static function getParams($option)
        {
            return new \Joomla\Registry\Registry(self::$params);
        }
    }
}

namespace Joomla\Registry {
    class Registry
    {
        public function __construct(private readonly array $all = [])
        {
        }

        public function get($name, $default = null)
        {
            return $this->all[$name] ?? $default;
        }

        public function toArray()
        {
            return $this->all;
        }
    }
}

namespace Joomla\CMS\Plugin {
    class PluginHelper
    {
        public static function isEnabled($type, $name)
        {
            return true;
        }
    }
}

namespace Joomla\CMS\Toolbar {
    class ToolbarHelper
    {
        public static array $called = [];

        public static function __callStatic($name, $arguments)
        {
            self::$called[$name] = $arguments;
        }
    }
}

namespace Joomla\CMS\Access\Exception {
    class NotAllowed extends \RuntimeException
    {
    }
}

namespace Joomla\CMS\MVC\Model {
    class BaseDatabaseModel
    {
        public $database;

        protected function getDatabase()
        {
            return $this->database;
        }
    }
}

namespace Joomla\CMS\MVC\View {
    class HtmlView
    {
        public $model;

        public $document;

        public function getModel()
        {
            return $this->model;
        }

        protected function getDocument()
        {
            return $this->document;
        }

        public function escape($text)
        {
            return htmlspecialchars((string) $text, ENT_QUOTES, 'UTF-8');
        }

        /** Runs the template, as Joomla does: in the scope of the view. */
        public function display($tpl = null)
        {
            require __DIR__ . '/../../../joomla/com_websockets/admin/tmpl/'
                . strtolower(basename(\dirname((new \ReflectionClass($this))->getFileName()))) . '/default.php';
        }
    }
}

namespace Joomla\CMS\MVC\Controller {
    class BaseController
    {
        public function __construct(protected $app, protected $input)
        {
        }

        public function checkToken($method = 'post', $redirect = true)
        {
            $token = $this->app->token;

            return ($_SERVER['HTTP_X_CSRF_TOKEN'] ?? '') === $token || isset($_POST[$token]);
        }
    }
}

namespace Joomla\CMS\Response {
    class JsonResponse
    {
        public function __construct(private $data = null, private $message = null, private $error = false, $ignoreMessages = false)
        {
        }

        public function __toString()
        {
            return json_encode(['success' => !$this->error, 'message' => $this->message, 'messages' => null, 'data' => $this->data]);
        }
    }
}

namespace Joomla\CMS\Dispatcher {
    interface ComponentDispatcherFactoryInterface
    {
    }
}

namespace Joomla\CMS\Extension {
    class MVCComponent
    {
        public function __construct(\Joomla\CMS\Dispatcher\ComponentDispatcherFactoryInterface $factory)
        {
        }
    }
}

namespace Joomla\CMS\Log {
    class Log
    {
        public const ALL = 30719;
        public const WARNING = 16;

        public static function addLogger(...$what)
        {
        }

        public static function add($sentence, ...$what)
        {
            error_log($sentence);
        }
    }
}

namespace Joomla\CMS\User {
    /** A user who may do everything, or, with &plain=1 in the address, everything with the component only. */
    class User
    {
        public function authorise($action, $asset = null): bool
        {
            return $asset !== null || empty($_GET['plain']);
        }
    }
}

namespace Jsocketd\Tests\Site {
    /** The application of the back end, its document with the asset manager, and its input. */
    class App
    {
        public string $mimeType = 'text/html';

        public array $options = [];

        public array $assets = [];

        private string $status = '200';

        public function __construct(public readonly string $token, private readonly object $component)
        {
        }

        public function getIdentity(): \Joomla\CMS\User\User
        {
            return new \Joomla\CMS\User\User();
        }

        public function get($name, $default = null): mixed
        {
            return $default;
        }

        public function bootComponent($name): object
        {
            return $this->component;
        }

        public function addScriptOptions($name, $options): void
        {
            $this->options[$name] = $options;
        }

        public function getWebAssetManager(): static
        {
            return $this;
        }

        public function useStyle($name): static
        {
            $this->assets[] = "$name#style";

            return $this;
        }

        public function useScript($name): static
        {
            $this->assets[] = "$name#script";

            return $this;
        }

        public function setHeader($name, $value, $replace = false): void
        {
            $name === 'status' ? $this->status = $value : header("$name: $value", $replace);
        }

        public function sendHeaders(): void
        {
            http_response_code((int) $this->status);
        }

        public function close(): never
        {
            exit;
        }
    }

    class Input
    {
        public readonly object $post;

        public function __construct()
        {
            $this->post = $this;
        }

        public function getString($name, $default = ''): string
        {
            return \is_string($_POST[$name] ?? null) ? $_POST[$name] : $default;
        }

        public function getMethod(): string
        {
            return $_SERVER['REQUEST_METHOD'];
        }
    }

    class Dispatchers implements \Joomla\CMS\Dispatcher\ComponentDispatcherFactoryInterface
    {
    }
}
